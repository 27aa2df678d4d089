# Sourced, not run: makes the tools on PATH work where HOME is an empty folder (scripts/toolchain-env.mjs is its twin).
#
# A `cargo` of rustup looks for its toolchains in $RUSTUP_HOME or $HOME/.rustup. With another HOME it finds none, although
# they lie next to the very cargo on PATH: <root>/.cargo/bin/cargo and <root>/.rustup. (An empty $HOME/.rustup says nothing:
# the first call that failed has made it.)
if [ -z "${RUSTUP_HOME:-}" ] && [ -z "$(ls -A "${HOME:-}/.rustup/toolchains" 2>/dev/null)" ] && command -v cargo >/dev/null 2>&1; then
	beside_cargo="$(dirname "$(command -v cargo)")/../../.rustup"
	if [ -d "$beside_cargo/toolchains" ]; then
		RUSTUP_HOME="$(cd "$beside_cargo" && pwd)"
		export RUSTUP_HOME
	fi
	unset beside_cargo
fi
