# make demo   set up, build, run the policy on the three simulated robots, write out/demo/
# make demo TRIALS=10        the same with 10 trials of each task, for scores that mean something
# make test   set up, build, run the tests
# make lint   ruff and mypy
# make build  set up and build only
# make train-demo   teach the demo policy from nothing, into out/train-demo (hours; goes on if stopped)
# make ablate-demo  the same without grounding, without imperfect demonstrations, and both baselines, in
#                   one table: out/ablate-demo, after train-demo (hours as well)
#
# WHEELS=kilted make test   the same on ROS 2 Kilted wheels
# make demo BAG=<folder> EMBODIMENT=<name or file>   the same from a recorded bag
# A sourced ROS 2 (ROS_DISTRO set) is used instead of the wheels.

PYTHON ?= python3
WHEELS ?= jazzy
OUT ?= out/demo
SECONDS_PER_ROBOT ?= 10
export PIZERO_VARIANT = $(if $(ROS_DISTRO),,$(filter-out jazzy,$(WHEELS)))
WITH_ROS = tools/with_ros

.DEFAULT_GOAL := demo
.PHONY: build demo test train-demo ablate-demo lint clean

build:
	@$(PYTHON) tools/setup_environment.py --wheels $(WHEELS)

demo: build
	@$(WITH_ROS) pizero demo --out $(OUT) --seconds $(SECONDS_PER_ROBOT) \
	  $(if $(TRIALS),--trials $(TRIALS)) \
	  $(if $(BAG),--bag $(BAG)) $(foreach name,$(EMBODIMENT),--embodiment $(name))

test: build
	@$(WITH_ROS) tools/run_tests $(PYTEST_ARGS)

train-demo: build
	@$(WITH_ROS) tools/train_demo

ablate-demo: build
	@$(WITH_ROS) python tools/ablate_demo.py $(if $(TRIALS),--trials $(TRIALS))

lint: build
	@$(WITH_ROS) ruff check .
	@$(WITH_ROS) ruff format --check .
	@$(WITH_ROS) mypy

clean:
	rm -rf .venv .venv-kilted build build-kilted install install-kilted log out .cache
