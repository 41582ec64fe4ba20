#!/usr/bin/env bash
# Checks that everything to hand in is there and complete, then zips it as assignment5.zip.
#
#   ./collect_submission.sh [VARIANT ...]      (default: vanilla, and every variant whose predictions are there)
#
# For vanilla: parameters and predictions with and without pretraining; for the others: with pretraining. A file is
# refused if it is missing or empty, does not have one prediction per question, or was made with other parameters than
# those beside it. All faults are listed, and then no zip is made.
#
# The questions are those of run.sh: from the folder that DATA_DIR names. Without DATA_DIR each file is looked for in
# the current folder, then beside this script, then in data/.

# Any shell can read this line: `sh collect_submission.sh` goes on in bash. -p: without the caller's functions, BASH_ENV
case $-${BASH_VERSION:+bash} in *p*bash) ;; *) exec bash -p "${BASH_SOURCE:-$0}" "$@" ;; esac
set -euo pipefail
unset CDPATH GLOBIGNORE GREP_OPTIONS POSIXLY_CORRECT # they change what cd, *, grep and sed do
fail() { echo "collect_submission.sh: $*" >&2 || true; exit 2; }

here=$PWD script=$0
while [ -L "$script" ]; do # macOS before 12.3 has no readlink -f
  target=$(readlink "$script")
  case "$target" in /*) script=$target ;; *) script=$(dirname "$script")/$target ;; esac
done
cd -P "$(dirname "$script")"

case "${1:-}" in
  -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$(basename "$script")" && exit ;;
esac

find_data() { # NAME: where this data file is
  local folder
  case "${DATA_DIR:-}" in
    '') ;;
    /* | ?:*) echo "$DATA_DIR/$1" && return ;;
    *) echo "$here/$DATA_DIR/$1" && return ;;
  esac
  for folder in "$here" . data; do
    if [ -e "$folder/$1" ]; then break; fi
  done
  if [ "$folder" -ef . ]; then echo "$1"; else echo "$folder/$1"; fi
}
dev=$(find_data birth_dev.tsv) test=$(find_data birth_test_inputs.tsv)

variants=("$@")
for variant in ${variants[@]+"${variants[@]}"}; do
  if ! grep -qF -e "@register(\"$variant\")" -e "@register('$variant')" src/*.py; then
    fail "no variant $variant"
  fi
done
if [ $# -eq 0 ]; then
  variants=(vanilla)
  for file in *.pretrain.dev.predictions; do
    variant=${file%.pretrain.dev.predictions}
    [ "$variant" = vanilla ] || [ ! -e "$file" ] || variants+=("$variant")
  done
fi

shopt -s nullglob
manifest=(src/*.py src/*/*.py src/*/*/*.py src/trust/report.js)
shopt -u nullglob
for file in london_baseline.py london_baseline_accuracy.txt; do # the second is handed in where a handout says so
  [ ! -s "$file" ] || manifest+=("$file")
done
wrong=()

add() { # FILE: adds it to the manifest, with its record, unless it is missing or empty
  if [ ! -f "$1" ]; then wrong+=("$1: missing"); elif [ ! -s "$1" ]; then wrong+=("$1: empty"); else manifest+=("$1"); fi
  [ ! -s "$1.json" ] || manifest+=("$1.json")
}

python= # -I below: it heeds no PYTHONPATH, no PYTHONHOME
for candidate in .venv/bin/python .venv/Scripts/python.exe python3 python; do
  if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
    python=$candidate && break
  fi
done
[ -n "$python" ] || fail "Python 3.8 or newer is needed, as python3 or python"

faults_of() { # PREDICTIONS QUESTIONS PARAMS: prints what is wrong with predictions, a line for each fault
  "$python" -I - "$@" <<'PYTHON'
import hashlib, json, os, pathlib, sys
sys.stdout.reconfigure(errors="surrogateescape")  # prints any path
predictions, questions, params = sys.argv[1:]

def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()

try:
    record = dict(json.loads(pathlib.Path(predictions + ".json").read_bytes()))
except (OSError, ValueError, TypeError, RecursionError):
    record = {}
if os.path.isfile(params) and os.path.getsize(params) and record.get("sha256") != sha256(params):
    print(f"{predictions}: was not made with {params}: evaluate again")
if record.get("questions_sha256", sha256(questions)) != sha256(questions):
    print(f"{predictions}: answers to other questions than those of {questions}: evaluate again")

text = pathlib.Path(questions).read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
want = sum(1 for line in text.split("\n") if line.strip())
given = pathlib.Path(predictions).read_bytes()
have = given.count(b"\n") + (not given.endswith(b"\n"))
if have != want:
    print(f"{predictions}: {have} lines instead of {want}, one per question of {questions}")
PYTHON
}

add_predictions() { # PREDICTIONS QUESTIONS PARAMS
  local faults fault
  add "$1"
  if [ -f "$1" ] && [ -s "$1" ]; then
    faults=$(faults_of "$@") # if this fails, the script ends
    while IFS= read -r fault; do
      [ -z "$fault" ] || wrong+=("$fault")
    done <<<"$faults"
  fi
}

rm -f assignment5.zip # an old zip must not pass for the one that is refused now
for questions in "$dev" "$test"; do
  [ -f "$questions" ] && [ -s "$questions" ] || fail "$questions: missing or empty"
done
for variant in "${variants[@]}"; do
  kinds=(pretrain)
  [ "$variant" != vanilla ] || { kinds+=(nopretrain) && add vanilla.model.params; }
  add "$variant.finetune.params"
  for kind in "${kinds[@]}"; do
    params=$variant.finetune.params
    [ "$kind" = pretrain ] || params=$variant.model.params
    add_predictions "$variant.$kind.dev.predictions" "$dev" "$params"
    add_predictions "$variant.$kind.test.predictions" "$test" "$params"
  done
done

if [ ${#wrong[@]} -gt 0 ]; then
  printf 'collect_submission.sh: %s\n' "${wrong[@]}" >&2 || true
  fail "no zip was made; ./run.sh full with these variants makes what is missing"
fi

"$python" -I - "${manifest[@]}" <<'PYTHON'
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
