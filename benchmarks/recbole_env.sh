#!/usr/bin/env bash
# RecBole 1.2.1 in an environment of its own, .venv-recbole beside this folder; from the package index alone.
#
# RecBole asks for ray<=2.6.3 (only its tuning and quick start import it) and sets np.float_ and its like, which
# NumPy 2 has no more. So: NumPy 1, a pandas and a SciPy of that age, RecBole itself without its own list of
# packages, and the few that its SASRec, data and trainer import. PyTorch is the version searec is measured with.
# Safe to repeat: it does nothing once the environment fits this file.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
environment="${RECBOLE_ENV:-$here/../.venv-recbole}"
made="$(sha256sum "${BASH_SOURCE[0]}" | cut -d' ' -f1)"
if [ "$(cat "$environment/made-by" 2>/dev/null || true)" = "$made" ]; then exit 0; fi

echo "making $(basename "$environment") for RecBole (some minutes)" >&2
rm -f "$environment/made-by"
"${PYTHON:-python3}" -m venv "$environment"
python="$environment/bin/python"
constraints="$environment/constraints.txt"
printf '%s\n' 'torch==2.13.0' 'numpy==1.26.4' 'pandas==2.2.3' 'scipy==1.13.1' 'scikit-learn==1.6.1' \
    'colorlog==4.7.2' 'colorama==0.4.4' >"$constraints"
install() { "$python" -m pip install -qq --disable-pip-version-check --constraint "$constraints" "$@"; }
install torch==2.13.0
install numpy pandas scipy scikit-learn pyyaml colorlog colorama tqdm texttable psutil tensorboard
install --no-deps recbole==1.2.1
"$python" -c 'import torch; from recbole.model.sequential_recommender import SASRec; from recbole.trainer import Trainer; assert torch.__version__.split("+")[0] == "2.13.0", torch.__version__'
echo "$made" >"$environment/made-by"
