"""The high-level language policy: from a long instruction to the prompts that the policy knows."""
