# `just` lists the recipes.
_default:
    @just --list

# Build the exporter as it is released.
build:
    cargo build --profile dist --locked

# The fast tests: about a minute after compiling.
test *arguments:
    cargo test --locked {{arguments}}

# The slow tests: hostile clients, memory, real servers.
siege *arguments:
    cargo test --locked --test it -- --ignored
    cargo test --locked --test siege --test memory {{arguments}}

# Formatting and lints, as CI checks them.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --test siege --test memory -- -D warnings

# Everything that CI runs. It installs Debian packages, so run it as root in a container.
ci:
    .ci/run

# A simulated CAD with the exporter in front of it.
demo *options:
    cargo run --release --locked -- demo {{options}}

# Rewrite the golden files; then read the difference.
golden:
    UPDATE_GOLDEN=1 cargo test --locked
    git diff --stat -- tests

# Feed a reader of foreign bytes for some seconds: `just fuzz answer 60`.
fuzz target seconds="60":
    fuzz/run {{target}} {{seconds}}

# Take the pictures of the dashboards again, from the compose stack; needs chromium and pngquant.
pictures grafana="http://localhost:3000" chromium="chromium":
    {{chromium}} --headless --hide-scrollbars --window-size=1600,1300 --virtual-time-budget=30000 --screenshot=docs/images/community.png '{{grafana}}/d/sonorancad-community?kiosk&from=now-24h'
    {{chromium}} --headless --hide-scrollbars --window-size=1600,900 --virtual-time-budget=30000 --screenshot=docs/images/dispatch-board.png '{{grafana}}/d/sonorancad-dispatch?kiosk'
    pngquant --force --ext .png --quality=60-90 docs/images/community.png docs/images/dispatch-board.png
