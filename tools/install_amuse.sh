#!/bin/sh
# Installs AMUSE's Fi and Gadget-2 into a Python environment of their own, for `emeraldcut simulate --engine amuse:...`.
#
#     tools/install_amuse.sh FOLDER        (about ten minutes on one core)
#
# FOLDER/bin/python is then the program that the environment variable EMERALDCUT_AMUSE_PYTHON names. It needs a Fortran and
# a C compiler, MPI, GSL, FFTW, HDF5, GMP and MPFR with their headers; where they are missing and apt-get may be used
# (Debian, as root) it installs them. AMUSE 2024.6 needs numpy < 2, which is why it cannot share our environment.
set -eu
folder=${1:?"usage: tools/install_amuse.sh FOLDER"}
python=${PYTHON:-python3}

if ! { command -v gfortran && command -v mpicc && command -v gsl-config; } > /dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends build-essential gfortran cmake pkg-config \
        openmpi-bin libopenmpi-dev libgsl-dev libfftw3-dev libhdf5-dev libgmp-dev libmpfr-dev zlib1g-dev
fi
test -x "$folder/bin/python" || "$python" -m venv "$folder"
PATH="$(cd "$folder" && pwd)/bin:$PATH"  # the codes are built with a program of the framework
python -m pip install --quiet "numpy<2" "setuptools<70" setuptools_scm wheel docutils h5py mpi4py
for package in framework fi gadget2; do
    python -m pip install --quiet --no-build-isolation "amuse-$package==2024.6.0"
done
echo "AMUSE is installed: export EMERALDCUT_AMUSE_PYTHON=$(cd "$folder" && pwd)/bin/python"
