#!/usr/bin/env bash
# Checks that everything to hand in is there and complete, then zips it as assignment5.zip.
#
#   ./collect_submission.sh [VARIANT ...]      (default: vanilla, and every variant whose predictions are there)
#
# For vanilla: parameters and predictions with and without pretraining; for the others: with pretraining. A file is
# refused if it is missing or empty, does not have one prediction per question, or was made with other parameters than
# those beside it. All faults are listed, and then no zip is made.
set -euo pipefail
cd "$(dirname "$0")"
data=${DATA_DIR:-data}

case "${1:-}" in
  -h | --help) sed -n '2,/^set /p' collect_submission.sh | sed '/^set /d; s/^# \{0,1\}//' && exit ;;
esac

variants=("$@")
for variant in ${variants[@]+"${variants[@]}"}; do
  if ! grep -qF -e "@register(\"$variant\")" -e "@register('$variant')" src/*.py; then
    echo "collect_submission.sh: no variant $variant" >&2 && exit 2
  fi
done
if [ $# -eq 0 ]; then
  variants=(vanilla)
  for file in *.pretrain.dev.predictions; do
    variant=${file%.pretrain.dev.predictions}
    [ "$variant" = vanilla ] || [ ! -e "$file" ] || variants+=("$variant")
  done
fi

manifest=(src/*.py src/*/*.py src/trust/report.js)
wrong=()

lines() { grep -c '' "$1" || true; }

add() { # FILE: adds it to the manifest, unless it is missing or empty
  if [ ! -f "$1" ]; then wrong+=("$1: missing"); elif [ ! -s "$1" ]; then wrong+=("$1: empty"); else manifest+=("$1"); fi
}

python=python3
command -v python3 >/dev/null || python=python # the name on Windows
for candidate in .venv/bin/python .venv/Scripts/python.exe; do
  [ ! -x "$candidate" ] || python=$candidate
done

made_with() { # FILE PARAMS: does the record beside the predictions name exactly these parameters?
  "$python" - "$1.json" "$2" <<'PYTHON'
import hashlib, json, pathlib, sys
try:
    record = json.loads(pathlib.Path(sys.argv[1]).read_bytes())
    sys.exit(record["sha256"] != hashlib.sha256(pathlib.Path(sys.argv[2]).read_bytes()).hexdigest())
except (OSError, ValueError, KeyError, TypeError):
    sys.exit(1)
PYTHON
}

add_predictions() { # FILE QUESTIONS PARAMS
  local have want
  add "$1"
  if [ -s "$1" ] && [ -s "$3" ]; then
    made_with "$1" "$3" || wrong+=("$1: was not made with $3: evaluate again")
  fi
  if [ -s "$1" ]; then
    have=$(lines "$1") want=$(grep -c '[^[:space:]]' "$2" || true)
    [ "$have" -eq "$want" ] || wrong+=("$1: $have lines instead of $want, one per question of $2")
  fi
}

rm -f assignment5.zip # an old zip must not pass for the one that is refused now
for questions in "$data/birth_dev.tsv" "$data/birth_test_inputs.tsv"; do
  [ -s "$questions" ] || { echo "collect_submission.sh: $questions: missing or empty" >&2 && exit 2; }
done
for variant in "${variants[@]}"; do
  kinds=(pretrain)
  [ "$variant" != vanilla ] || { kinds+=(nopretrain) && add vanilla.model.params; }
  add "$variant.finetune.params"
  for kind in "${kinds[@]}"; do
    params=$variant.finetune.params
    [ "$kind" = pretrain ] || params=$variant.model.params
    add_predictions "$variant.$kind.dev.predictions" "$data/birth_dev.tsv" "$params"
    add_predictions "$variant.$kind.test.predictions" "$data/birth_test_inputs.tsv" "$params"
  done
done

if [ ${#wrong[@]} -gt 0 ]; then
  printf 'collect_submission.sh: %s\n' "${wrong[@]}" >&2
  echo "collect_submission.sh: no zip was made; ./run.sh full makes what is missing" >&2
  exit 2
fi

"$python" - "${manifest[@]}" <<'PYTHON'
import os, sys, zipfile
whole, unfinished = "assignment5.zip", "assignment5.zip.unfinished"
try:
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for name in sys.argv[1:]:
            archive.write(name)
    os.replace(unfinished, whole)
except OSError as error:
    sys.exit(f"collect_submission.sh: {whole}: cannot be written: {error.strerror or error}")
finally:
    if os.path.isfile(unfinished):
        os.remove(unfinished)
PYTHON
printf '%s\n' "${manifest[@]}"
echo "assignment5.zip: ${#manifest[@]} files"
