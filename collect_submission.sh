#!/usr/bin/env bash
# Checks that everything to hand in is there and complete, then zips it as assignment5.zip.
#
#   ./collect_submission.sh [VARIANT ...]      (default: vanilla, and every variant whose predictions are there)
#
# For vanilla: parameters and predictions with and without pretraining; for the others: with pretraining. A file that is
# missing or empty, or has not one prediction for every question, is refused with all that is wrong; then no zip is made.
set -euo pipefail
cd "$(dirname "$0")"
data=${DATA_DIR:-data}

variants=("$@")
if [ $# -eq 0 ]; then
  variants=(vanilla)
  for file in *.pretrain.dev.predictions; do
    variant=${file%.pretrain.dev.predictions}
    [ "$variant" = vanilla ] || [ ! -e "$file" ] || variants+=("$variant")
  done
fi

manifest=(src/dataset.py src/attention.py src/model.py src/trainer.py src/run.py)
wrong=()

lines() { grep -c '' "$1" || true; }

add() { # FILE: to the manifest, if it is there and not empty
  if [ ! -f "$1" ]; then wrong+=("$1: missing"); elif [ ! -s "$1" ]; then wrong+=("$1: empty"); else manifest+=("$1"); fi
}

add_predictions() { # FILE QUESTIONS
  local have want
  add "$1"
  if [ -s "$1" ]; then
    have=$(lines "$1") want=$(grep -c '[^[:space:]]' "$2" || true)
    [ "$have" -eq "$want" ] || wrong+=("$1: $have lines where $2 has $want questions")
  fi
}

for questions in "$data/birth_dev.tsv" "$data/birth_test_inputs.tsv"; do
  [ -s "$questions" ] || { echo "collect_submission.sh: $questions: missing or empty" >&2 && exit 2; }
done
for variant in "${variants[@]}"; do
  kinds=(pretrain)
  [ "$variant" != vanilla ] || { kinds+=(nopretrain) && add vanilla.model.params; }
  add "$variant.finetune.params"
  for kind in "${kinds[@]}"; do
    add_predictions "$variant.$kind.dev.predictions" "$data/birth_dev.tsv"
    add_predictions "$variant.$kind.test.predictions" "$data/birth_test_inputs.tsv"
  done
done

if [ ${#wrong[@]} -gt 0 ]; then
  printf 'collect_submission.sh: %s\n' "${wrong[@]}" >&2
  echo "collect_submission.sh: no zip was made; ./run.sh full makes what is missing" >&2
  exit 2
fi

python=python3
[ ! -x .venv/bin/python ] || python=.venv/bin/python
"$python" - "${manifest[@]}" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile("assignment5.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for name in sys.argv[1:]:
        archive.write(name)
PYTHON
printf '%s\n' "${manifest[@]}"
echo "assignment5.zip: ${#manifest[@]} files"
