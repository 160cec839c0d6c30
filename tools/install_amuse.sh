#!/bin/sh
# Installs AMUSE's Fi and Gadget-2 into a Python environment of their own, for `emeraldcut simulate --engine amuse:...`,
# and builds Gadget-2 from the same sources as a program of its own, for `--engine gadget2`.
#
#     tools/install_amuse.sh FOLDER        (minutes of compiling)
#
# FOLDER/bin/python is then what the environment variable EMERALDCUT_AMUSE_PYTHON names, FOLDER/bin/Gadget2 what
# --executable names. Both are under the GPL and are no part of emeraldcut. It needs a Fortran and a C compiler, MPI, GSL,
# FFTW, HDF5, GMP and MPFR with their headers; where they are missing and apt-get may be used (Debian, as root) it installs
# them. AMUSE 2024.6 needs numpy < 2, which is why it cannot share our environment.
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

# Gadget-2 alone: with HDF5 and potentials, with the original's choice of steps (AMUSE's has a limiter of steps by which
# gravity does not limit those of particles without gas), and with an exit status where it gives up.
sources=$(mktemp -d)
python -m pip download --quiet --no-deps --no-build-isolation --dest "$sources" amuse-gadget2==2024.6.0
tar -xzf "$sources"/amuse*gadget2*.tar.gz -C "$sources"
(
    cd "$sources"/amuse*gadget2*/src/amuse/community/gadget2/src
    sed -i 's/ timestep_limit.o  sigvel.o/ timestep.o/' Makefile
    sed -i 's/MPI_Init(&argc, &argv);/& GADGET_WORLD = MPI_COMM_WORLD;/' main.c
    sed -i 's/void endrun(/void endrun_in_amuse(/; s/void original_endrun(/void endrun(/' endrun.c
    options="UNEQUALSOFTENINGS PEANOHILBERT WALLCLOCK DOUBLEPRECISION SYNCHRONIZATION HAVE_HDF5 OUTPUTPOTENTIAL"
    for option in $options H5_USE_16_API; do echo "OPT += -D$option"; done > makefile_options
    make Gadget2 CC=mpicc OPTIMIZE="-O3 -fcommon -w" \
        HDF5INCL="$(pkg-config --cflags hdf5)" HDF5LIB="$(pkg-config --libs hdf5) -lz" > make.log 2>&1 || { tail make.log; exit 1; }
)
cp "$sources"/amuse*gadget2*/src/amuse/community/gadget2/src/Gadget2 "$folder/bin/"
rm -r "$sources"
echo "done: export EMERALDCUT_AMUSE_PYTHON=$(cd "$folder" && pwd)/bin/python"
