#!/usr/bin/env bash
# Runs the project, from setting up Python to the table of results and a page that explains them, report.html.
# Prints every command before it runs it.
#
#   ./run.sh                      full on a machine with CUDA, quick otherwise
#   ./run.sh quick [VARIANT ...]  a small corpus and model, minutes on a CPU; writes into quick/
#   ./run.sh full [VARIANT ...]   the course's commands with and without pretraining, dev and test (default: vanilla)
#   ./run.sh STAGE ...            single stages, for any VARIANT:
#       VARIANT_finetune_without_pretrain  VARIANT_eval_dev_without_pretrain  VARIANT_eval_test_without_pretrain
#       VARIANT_pretrain  VARIANT_finetune_with_pretrain  VARIANT_eval_dev_with_pretrain  VARIANT_eval_test_with_pretrain
#   ./run.sh test [ARGUMENT ...]  the tests; the arguments are handed to pytest
#   ./run.sh notebooks            opens the notebooks of mingpt-demo/ in a browser
#
# Options such as --recipe NAME, --seed N or --max_epochs N are handed to training, --plain to training and evaluation,
# --device NAME to every command. With --resume a stopped stage goes on, and a complete one is not done again.
# Training also logs the loss on birth_dev.tsv if that file has the answers.
#
# The four data files are taken from the folder that DATA_DIR names. Without DATA_DIR each is looked for in the current
# folder, then beside this script, then in data/ (quick: in data/quick/). OUT_DIR names another folder for the results.

# Any shell can read this line: `sh run.sh` goes on in bash. -p: without the caller's functions, aliases and BASH_ENV.
case $-${BASH_VERSION:+bash} in *p*bash) ;; *) exec bash -p "${BASH_SOURCE:-$0}" "$@" ;; esac
set -euo pipefail
unset CDPATH GLOBIGNORE GREP_OPTIONS POSIXLY_CORRECT # they change what cd, *, grep and sed do
true 3>&2 || exec 2>/dev/null # if it is closed, the next file that is opened would take its place
{ true 3>&1; } 2>/dev/null || exec >/dev/null

here=$PWD script=$0
while [ -L "$script" ]; do # macOS before 12.3 has no readlink -f
  target=$(readlink "$script")
  case "$target" in /*) script=$target ;; *) script=$(dirname "$script")/$target ;; esac
done
cd -P "$(dirname "$script")"
absolute() { case "$1" in /* | ?:*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
[ -z "${DATA_DIR:-}" ] || DATA_DIR=$(absolute "$DATA_DIR")
[ -z "${OUT_DIR:-}" ] || OUT_DIR=$(absolute "$OUT_DIR")

say() { printf '%s\n' "$*" || true; } 2>/dev/null # a display that is gone is no reason to stop
tell() { printf 'run.sh: %s\n' "$*" >&2 || true; }
fail() { tell "$*" && exit 2; }

# ---------------------------------------------------------------------------------------------------- commands

stop() { # NUMBER of a signal: an installation ends with us
  set +u # there may be no $!
  kill $! 2>/dev/null || true
  exit $((128 + $1))
}

announce() { printf '+%s\n' "$(printf ' %q' "$@")" >&2 || true; }

run() { # COMMAND ...: prints it and runs it, so that a signal can end it
  announce "$@"
  "$@" </dev/null &
  wait $!
}

STEPS=() # what the stages are made of, for src/safe/sequence.py, which runs them in one process
step() { STEPS+=($# "$@"); } # VERB ...

# ------------------------------------------------------------------------------------------------- environment

fits() { # PYTHON MODULE ...: is it new enough, and has it these? What a killed pip leaves cannot be imported.
  local python=$1
  shift
  "$python" - "$@" >/dev/null 2>&1 <<'PYTHON'
import csv, importlib, importlib.metadata, importlib.util, os, sys
if sys.version_info < (3, 11):
    sys.exit(1)
sys.path[0] = "src"  # as for src/run.py
os.environ.pop("MPLBACKEND", None)

def version_if_intact(name):
    """The version of a package, if every file is there that its installer has recorded. Importing takes seconds."""
    try:
        about = importlib.metadata.distribution(name)
        folder = str(about.locate_file(""))
        origin = importlib.util.find_spec(name).origin
        rows = list(csv.reader(about.read_text("RECORD").splitlines()))
        sizes = {os.path.join(folder, path): int(size) for path, _, size in rows if size}
        intact = origin in sizes and all(os.stat(path).st_size == size for path, size in sizes.items())
        return about.version if intact else None
    except (importlib.metadata.PackageNotFoundError, AttributeError, OSError, ValueError):
        return None

for name in sys.argv[1:]:
    version = None if os.environ.get("PYTHONPATH") else version_if_intact(name)  # may lead to packages of another Python
    if version is None:
        try:
            module = importlib.import_module(name)
        except ValueError:  # matplotlib does not like the user's settings
            continue
        if module.__file__ is None:  # a folder without a module
            sys.exit(1)
        version = getattr(module, "__version__", "")
    if name == "torch" and [int(number) for number in version.split(".")[:2]] < [2, 6]:
        sys.exit(1)  # no torch.compiler.set_stance
PYTHON
}

venv_python() { if [ -x .venv/Scripts/python.exe ]; then echo .venv/Scripts/python.exe; else echo .venv/bin/python; fi; }

set_up() { # REQUIREMENTS MODULE ...: sets PYTHON to one with the modules: the caller's, or that of .venv
  local requirements=$1 python aside
  local names=(python3 python python3.{14,13,12,11})
  shift
  unset PYTHONHOME PYTHONSAFEPATH # the library of another Python; a path without src
  for python in "${names[@]}" "$(venv_python)"; do
    if fits "$python" "$@"; then PYTHON=$python && return; fi
  done
  if [ -n "${PYTHONPATH:-}" ]; then # packages of another Python may hide the right ones
    tell "no Python here can import $* with PYTHONPATH=$PYTHONPATH: going on without PYTHONPATH"
    unset PYTHONPATH
    set_up "$requirements" "$@"
    return
  fi
  for python in "${names[@]}" ''; do
    if fits "$python"; then break; fi
  done
  [ -n "$python" ] || fail "Python 3.11 or newer is needed, as ${names[*]}"
  if [ -e .venv ] && ! fits "$(venv_python)"; then
    aside=.venv.$(date +%Y%m%d-%H%M%S)
    tell ".venv is of a Python older than 3.11, or of one that is gone: it is now $aside, which you may delete"
    mv .venv "$aside"
  fi
  # A .venv without pip is left over from an attempt that failed because a system package was missing.
  "$(venv_python)" -m pip --version >/dev/null 2>&1 || run "$python" -m venv .venv
  PYTHON=$(venv_python)
  unset PIP_TARGET PIP_PREFIX PIP_ROOT # into .venv, and nowhere else
  export PIP_USER=0
  run "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  fits "$PYTHON" "$@" && return
  tell "something in .venv is incomplete, as after a pip that was killed: installing all of it again"
  run "$PYTHON" -m pip install --quiet --disable-pip-version-check --ignore-installed -r "$requirements"
  fits "$PYTHON" "$@" || fail ".venv cannot import all of $*: delete .venv, and run this again"
}

has_gpu() { # is it worth asking torch, which takes seconds? On Linux and Windows, also for AMD
  local device
  for device in /dev/nvidia0 /dev/nvhost-gpu /dev/dxg /dev/kfd; do
    [ ! -e $device ] || return 0
  done
  command -v nvidia-smi >/dev/null
}

# ------------------------------------------------------------------------------------------------------ stages

find_data() { # NAME: where this data file is; run.py looks in the same places (find_file in src/dataset.py)
  local path
  if [ -z "${DATA_DIR:-}" ] && [ "${WORDS[0]}" != quick ]; then
    for path in "$here/$1" "$1"; do
      if [ -e "$path" ]; then
        if [ "$path" -ef "$1" ]; then path=$1; fi
        echo "$path" && return
      fi
    done
  fi
  echo "$DATA/$1"
}

find_all_data() { # sets CORPUS, TRAIN, DEV and TEST, and says what they are
  local path
  CORPUS=$(find_data wiki.txt) TRAIN=$(find_data birth_places_train.tsv)
  DEV=$(find_data birth_dev.tsv) TEST=$(find_data birth_test_inputs.tsv)
  tell "data: $CORPUS, $TRAIN, $DEV, $TEST"
  for path in "$TRAIN" "$DEV" "$TEST"; do
    if [ ! "$(dirname "$path")" -ef "$(dirname "$CORPUS")" ]; then
      tell "warning: $path is not in the folder of $CORPUS: do they belong together? DATA_DIR names one for all four"
    fi
  done
}

train() { # pretrain|finetune VARIANT ARGUMENT ...
  local held_out=()
  if [ -f "$DEV" ] && grep -q $'\t' "$DEV" 2>/dev/null; then # it has the answers
    held_out=(--eval_corpus_path "$DEV")
  fi
  step run "$PYTHON" src/run.py "$1" "$2" "$CORPUS" "${@:3}" \
    ${held_out[@]+"${held_out[@]}"} ${OPTIONS[@]+"${OPTIONS[@]}"}
}

evaluate() { # VARIANT PARAMS dev|test nopretrain|pretrain [TITLE of a row of the table]
  local questions=$DEV
  [ "$3" = dev ] || questions=$TEST
  step score "${5:-}" "$PYTHON" src/run.py evaluate "$1" "$CORPUS" --reading_params_path "$OUT/$1.$2.params" \
    --eval_corpus_path "$questions" --outputs_path "$OUT/$1.$4.$3.predictions" \
    ${PLAIN[@]+"${PLAIN[@]}"} ${DEVICE[@]+"${DEVICE[@]}"}
}

stage() { # NAME [TITLE of a row of the table]
  local train_rows=(--finetune_corpus_path "$TRAIN")
  case "$1" in
    ?*_finetune_without_pretrain)
      local variant=${1%_finetune_without_pretrain}
      train finetune "$variant" --writing_params_path "$OUT/$variant.model.params" "${train_rows[@]}" ;;
    ?*_eval_dev_without_pretrain) evaluate "${1%_eval_dev_without_pretrain}" model dev nopretrain "${2:-}" ;;
    ?*_eval_test_without_pretrain) evaluate "${1%_eval_test_without_pretrain}" model test nopretrain ;;
    ?*_finetune_with_pretrain)
      local variant=${1%_finetune_with_pretrain}
      train finetune "$variant" --reading_params_path "$OUT/$variant.pretrain.params" \
        --writing_params_path "$OUT/$variant.finetune.params" "${train_rows[@]}" ;;
    ?*_eval_dev_with_pretrain) evaluate "${1%_eval_dev_with_pretrain}" finetune dev pretrain "${2:-}" ;;
    ?*_eval_test_with_pretrain) evaluate "${1%_eval_test_with_pretrain}" finetune test pretrain ;;
    ?*_pretrain)
      local variant=${1%_pretrain}
      [ "$MIX" = yes ] || train_rows=()
      train pretrain "$variant" --writing_params_path "$OUT/$variant.pretrain.params" \
        ${train_rows[@]+"${train_rows[@]}"} ${THIRD_MASK[@]+"${THIRD_MASK[@]}"} ;;
  esac
}

check_variants() { # NAME ...: variants or stages, before the first of them takes hours
  "$PYTHON" - "$@" <<'PYTHON' || exit 2
import re, sys
sys.path.insert(0, "src")
from safe.flags import registered
variants = registered()
for name in sys.argv[1:]:
    variant = re.sub("(_(finetune|eval_dev|eval_test)_with(out)?)?_pretrain$", "", name)
    if variant not in variants:
        stage = f" (in the stage {name}; ./run.sh --help lists the stages)" if variant != name else ""
        sys.exit(f"run.sh: no variant {variant}: choose from {', '.join(variants)}{stage}")
PYTHON
}

all_stages() { # VARIANT ...: every stage of each, then the table. What would stop it later is checked first.
  local variant suffix file
  for file in "$CORPUS" "$TRAIN" "$DEV" "$TEST"; do
    [ -f "$file" ] || fail "$file: no such file"
  done
  check_variants "$@"
  step score "London for everyone" "$PYTHON" london_baseline.py --eval_corpus_path "$DEV"
  for variant in "$@"; do
    for suffix in without_pretrain with_pretrain; do
      [ $suffix = without_pretrain ] || stage "${variant}_pretrain"
      stage "${variant}_finetune_$suffix"
      stage "${variant}_eval_dev_$suffix" "$variant, ${suffix%_pretrain} pretraining"
      stage "${variant}_eval_test_$suffix"
    done
  done
  step table "Dev questions of $DEV:"
  write_report "$@"
  step say "What is behind these numbers: $OUT/report.html"
}

write_report() { # VARIANT ...: about everything that all_stages makes
  local variant params=() predictions=() unseen
  unseen=$(dirname "$DEV")/birth_unseen_inputs.tsv
  for variant in "$@"; do
    params+=("$OUT/$variant".{model,pretrain,finetune}.params)
    predictions+=("$OUT/$variant".{nopretrain,pretrain}.dev.predictions)
  done
  [ -f "$unseen" ] || unseen=data/birth_unseen_inputs.tsv # made-up people are in nobody's corpus
  step last "there is no report, for the reason above; all else is complete" \
    "$PYTHON" src/run.py report "$CORPUS" --reading_params_path "${params[@]}" \
    --predictions_path "${predictions[@]}" --eval_corpus_path "$DEV" --finetune_corpus_path "$TRAIN" \
    --unseen_corpus_path "$unseen" --outputs_path "$OUT/report.html" ${DEVICE[@]+"${DEVICE[@]}"}
}

# --------------------------------------------------------------------------------------------------- arguments

WORDS=() OPTIONS=() PLAIN=() THIRD_MASK=() DEVICE=() RECIPE=
while [ $# -gt 0 ]; do
  case "$1" in
    test | notebooks) # the rest is for pytest or Jupyter
      if [ ${#WORDS[@]} -eq 0 ]; then WORDS=("$1") && shift && break; fi
      WORDS+=("$1") ;;
    -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$(basename "$script")" && exit ;;
    compile) # a word of some handouts, after a stage
      [ ${#WORDS[@]} -gt 0 ] || fail "compile: name a stage before it"
      tell "compile: run.py does so by itself where it saves time; --compile=on does in any case" ;;
    --third_mask) THIRD_MASK=("$1") ;;
    --plain) PLAIN=("$1") OPTIONS+=("$1") ;;
    --resume | --overwrite | --deterministic | --shard | --no-compile) OPTIONS+=("$1") ;;
    --recipe=*) RECIPE=${1#--recipe=} OPTIONS+=("$1") ;;
    --device=*) DEVICE=("$1") OPTIONS+=("$1") ;;
    --*=*) OPTIONS+=("$1") ;;
    --*)
      [ $# -ge 2 ] || fail "$1 needs a value"
      OPTIONS+=("$1" "$2")
      case "$1" in --recipe) RECIPE=$2 ;; --device) DEVICE=("$1" "$2") ;; esac
      shift ;;
    *) WORDS+=("$1") ;;
  esac
  shift
done

case "${WORDS[0]:-}" in
  test | notebooks | quick | full | '') ;;
  *)
    for name in "${WORDS[@]}"; do
      case "$name" in
        ?*_pretrain) ;; # as all of them end
        *) fail "no stage $name: ./run.sh --help lists the stages" ;;
      esac
    done ;;
esac

case "${WORDS[0]:-}" in
  test | notebooks)
    [ ${#OPTIONS[@]}${#THIRD_MASK[@]} = 00 ] || fail "options before ${WORDS[0]} are not for it: put them after it" ;;
esac
trap 'stop 1' HUP
trap 'stop 2' INT
trap 'stop 3' QUIT
trap 'stop 15' TERM
trap '' PIPE # see say

BASIC=(torch numpy tqdm matplotlib)
case "${WORDS[0]:-}" in
  test)
    set_up requirements-dev.txt "${BASIC[@]}" pytest pytest_timeout xdist hypothesis nbclient ipykernel
    announce "$PYTHON" -m pytest "$@"
    exec "$PYTHON" -m pytest "$@" ;;
  notebooks)
    set_up requirements-notebooks.txt "${BASIC[@]}" notebook
    say "The notebooks open in a browser; if they do not, open the address that is printed below."
    say "Begin with play_char.ipynb. Choose Run > Run All Cells there. To stop, press Ctrl-C here twice."
    announce "$PYTHON" -m notebook mingpt-demo "$@"
    exec "$PYTHON" -m notebook mingpt-demo "$@" ;;
esac

set_up requirements.txt "${BASIC[@]}"
if [ ${#WORDS[@]} -eq 0 ]; then
  if has_gpu && "$PYTHON" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    say "this machine has CUDA: ./run.sh full" && WORDS=(full)
  else
    say "no CUDA here: ./run.sh quick (./run.sh full trains the full model)" && WORDS=(quick)
  fi
fi
if [ "${WORDS[0]}" = quick ]; then
  DATA=${DATA_DIR:-data/quick} OUT=${OUT_DIR:-quick} RECIPE=${RECIPE:-quick}
  OPTIONS=(--recipe quick ${OPTIONS[@]+"${OPTIONS[@]}"}) # a --recipe among the options comes later and wins
else
  DATA=${DATA_DIR:-data} OUT=${OUT_DIR:-.} RECIPE=${RECIPE:-course}
fi
MIX=no # does the recipe mix questions into pretraining?
if "$PYTHON" - "$RECIPE" <<'PYTHON'
import sys
sys.path.insert(0, "src")
from recipes import RECIPES
sys.exit(sys.argv[1] not in RECIPES or not RECIPES[sys.argv[1]].question_share)
PYTHON
then MIX=yes; fi
find_all_data
mkdir -p "$OUT"

case "${WORDS[0]}" in
  quick | full)
    [ ${#WORDS[@]} -gt 1 ] || WORDS+=(vanilla)
    all_stages "${WORDS[@]:1}" ;;
  *)
    check_variants "${WORDS[@]}"
    for name in "${WORDS[@]}"; do stage "$name"; done ;;
esac
exec "$PYTHON" src/safe/sequence.py "${STEPS[@]}" </dev/null
