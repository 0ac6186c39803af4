"""CUDA's libraries without a GPU: ONNX Runtime's provider works on the host, its kernels do not.

Enough to see which kernels it has and which it would launch: memory is the host's, copies are
made, launches return. What comes out of a graph is without meaning.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections import defaultdict
from typing import TYPE_CHECKING

from pizero_ros.errors import EnvironmentFault

if TYPE_CHECKING:
    from pathlib import Path

_IMPORTED = re.compile(r'(\w+)@+(lib\w+\.so\.\d+)$')
_DRIVER = 'libcuda.so.1'
_RANDOM = 'libcurand.so.10'

_ALLOCATE = '(void **p, size_t n) { *p = malloc(n + 64); return 0; }'
_FREE = '(void *p) { free(p); return 0; }'
_COPY = '(void *to, void *from, size_t n) { memcpy(to, from, n); return 0; }'
_HANDLE = '(void **p) { *p = malloc(64); return 0; }'
_NAME = '(int code) { return "stand-in"; }'
_WRITTEN = {
    'cudaMalloc': f'int cudaMalloc{_ALLOCATE}',
    'cudaMallocFromPoolAsync': f'int cudaMallocFromPoolAsync{_ALLOCATE}',
    'cudaMallocHost': f'int cudaMallocHost{_ALLOCATE}',
    'cudaHostAlloc': f'int cudaHostAlloc{_ALLOCATE}',
    'cudaFree': f'int cudaFree{_FREE}',
    'cudaFreeAsync': f'int cudaFreeAsync{_FREE}',
    'cudaFreeHost': f'int cudaFreeHost{_FREE}',
    'cudaMemcpy': f'int cudaMemcpy{_COPY}',
    'cudaMemcpyAsync': f'int cudaMemcpyAsync{_COPY}',
    'cudaStreamCreate': f'int cudaStreamCreate{_HANDLE}',
    'cudaStreamCreateWithFlags': f'int cudaStreamCreateWithFlags{_HANDLE}',
    'cudaEventCreate': f'int cudaEventCreate{_HANDLE}',
    'cudaEventCreateWithFlags': f'int cudaEventCreateWithFlags{_HANDLE}',
    'cudaGraphInstantiate': f'int cudaGraphInstantiate{_HANDLE}',
    'cudaStreamEndCapture': (
        'int cudaStreamEndCapture(void *stream, void **p) { *p = malloc(64); return 0; }'
    ),
    'cudaStreamIsCapturing': 'int cudaStreamIsCapturing(void *s, int *v) { *v = 0; return 0; }',
    'cudaGetDeviceCount': 'int cudaGetDeviceCount(int *n) { *n = 1; return 0; }',
    'cudaGetDevice': 'int cudaGetDevice(int *n) { *n = 0; return 0; }',
    'cudaMemGetInfo': (
        'int cudaMemGetInfo(size_t *a, size_t *b) { *a = *b = 80UL << 30; return 0; }'
    ),
    'cudaDriverGetVersion': 'int cudaDriverGetVersion(int *v) { *v = 13000; return 0; }',
    'cudaRuntimeGetVersion': 'int cudaRuntimeGetVersion(int *v) { *v = 13000; return 0; }',
    'cudaPointerGetAttributes': 'int cudaPointerGetAttributes(int *v) { *v = 0; return 0; }',
    # Compute capability 9.0 with 132 multiprocessors, the rest ample.
    'cudaDeviceGetAttribute': (
        'int cudaDeviceGetAttribute(int *v, int which) {'
        ' *v = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 132 : 1024; return 0; }'
    ),
    # Places in the structure of CUDA 13.
    'cudaGetDeviceProperties': """
int cudaGetDeviceProperties(char *p, int device) {
  memset(p, 0, 1008);
  strcpy(p, "stand-in");
  *(size_t *)(p + 288) = 80UL << 30;
  *(size_t *)(p + 296) = 49152;
  *(int *)(p + 304) = 65536;
  *(int *)(p + 308) = 32;
  *(int *)(p + 320) = 1024;
  for (int i = 0; i < 3; i++) ((int *)(p + 324))[i] = i < 2 ? 1024 : 64;
  for (int i = 0; i < 3; i++) ((int *)(p + 336))[i] = i < 1 ? 2147483647 : 65535;
  *(int *)(p + 360) = 9;
  *(int *)(p + 384) = 132;
  *(int *)(p + 596) = 50 << 20;
  *(int *)(p + 604) = 2048;
  *(size_t *)(p + 624) = 233472;
  *(size_t *)(p + 672) = 232448;
  return 0;
}""",
    'cudaGetErrorString': f'const char *cudaGetErrorString{_NAME}',
    'cudaGetErrorName': f'const char *cudaGetErrorName{_NAME}',
    '__cudaRegisterFatBinary': (
        'static void *fat[8]; void **__cudaRegisterFatBinary(void *p) { return fat; }'
    ),
}
_RETURNS_ZERO = 'long {name}(void) {{ return 0; }}'


def has_driver() -> bool:
    """Whether NVIDIA's driver is on this machine."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def build(provider: Path, folder: Path) -> None:
    """Write every library that the provider imports from CUDA into a folder.

    Args:
        provider: ``libonnxruntime_providers_cuda.so``.
        folder: Existing folder, for ``LD_LIBRARY_PATH``.

    Raises:
        EnvironmentFault: There is no compiler, or it fails.
    """
    for tool in ('cc', 'nm'):
        if shutil.which(tool) is None:
            raise EnvironmentFault.at(
                'stand-in device', tool, found='no such command', expected='a C compiler and nm'
            )
    listed = _run('nm', '-D', '--undefined-only', str(provider))
    libraries: dict[str, list[str]] = defaultdict(list, {_DRIVER: [], _RANDOM: []})
    for line in listed.splitlines():
        symbol = line.split()[-1]
        match = _IMPORTED.match(symbol)
        if match and match[2].startswith(('libcu', 'libnv')):
            libraries[match[2]].append(match[1])
        elif re.fullmatch(r'cu[A-Z]\w+', symbol):
            libraries[_DRIVER].append(symbol)
    for library, symbols in libraries.items():
        code = ['#include <stdlib.h>', '#include <string.h>']
        code += [_WRITTEN.get(name, _RETURNS_ZERO.format(name=name)) for name in symbols]
        source, versions = folder / f'{library}.c', folder / f'{library}.map'
        source.write_text('\n'.join(code) + '\n')
        versions.write_text(f'{library} {{ global: *; }};\n')
        flags = ('-w', '-shared', '-fPIC', '-fno-builtin', f'-Wl,-soname,{library}')
        script = f'-Wl,--version-script={versions}'
        _run('cc', *flags, script, '-o', str(folder / library), str(source))


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFault.at(
            'stand-in device', words[0], found=done.stderr.strip()[-300:], expected='success'
        )
    return done.stdout
