//! The table of developers' tools that live in the home directory, or wherever a variable says: what of them is
//! shown to a step, and which variables go with them. Reading the table is the view's business.

/// A tool with a directory of its own.
pub(crate) struct Tool {
    /// Says where it is, and is set for the step.
    pub(crate) variable: &'static str,
    /// Place below the home directory when the variable is not set. Empty: nowhere.
    pub(crate) default: &'static str,
    /// Parts of it that are shown, below its directory. Empty: all of it.
    pub(crate) show: &'static [&'static str],
}

const fn tool(variable: &'static str, default: &'static str) -> Tool {
    Tool { variable, default, show: &[] }
}

/// Every tool we know. Those not here work as far as they are in the directories on `PATH`.
///
/// Cargo is missing on purpose: `~/.cargo/bin` is on `PATH`, and a step's `CARGO_HOME` is in its own home directory.
pub(crate) const TOOLS: &[Tool] = &[
    tool("ANDROID_HOME", "Android/Sdk"),
    tool("ANDROID_SDK_ROOT", ""),
    tool("ASDF_DATA_DIR", ".asdf"),
    tool("ASDF_DIR", ".asdf"),
    tool("BUN_INSTALL", ".bun"),
    tool("CONDA_PREFIX", ""),
    Tool { variable: "DENO_INSTALL", default: ".deno", show: &["bin"] },
    tool("DOTNET_ROOT", ".dotnet"),
    tool("ELAN_HOME", ".elan"),
    tool("FLUTTER_ROOT", ""),
    tool("FNM_DIR", ".local/share/fnm"),
    tool("GEM_HOME", ""),
    Tool { variable: "GHCUP_INSTALL_BASE_PREFIX", default: "", show: &[".ghcup"] },
    tool("GOROOT", ""),
    tool("GRADLE_HOME", ""),
    tool("HOMEBREW_PREFIX", ""),
    tool("JAVA_HOME", ""),
    tool("JULIAUP_DEPOT_PATH", ".juliaup"),
    tool("MAVEN_HOME", ""),
    tool("MISE_DATA_DIR", ".local/share/mise"),
    tool("NODENV_ROOT", ".nodenv"),
    tool("NVM_DIR", ".nvm"),
    tool("OPAMROOT", ".opam"),
    tool("PIPX_HOME", ".local/share/pipx"),
    tool("PNPM_HOME", ".local/share/pnpm"),
    tool("PYENV_ROOT", ".pyenv"),
    tool("RBENV_ROOT", ".rbenv"),
    tool("RUSTUP_HOME", ".rustup"),
    tool("SDKMAN_DIR", ".sdkman"),
    tool("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python"),
    tool("UV_TOOL_DIR", ".local/share/uv/tools"),
    tool("VIRTUAL_ENV", ""),
    tool("VOLTA_HOME", ".volta"),
    tool("rvm_path", ".rvm"),
];

/// Variables that say which of several versions is meant, or how output looks. They name no file.
pub(crate) const PASSED: &[&str] = &[
    "ALL_PROXY",
    "ASDF_NODEJS_VERSION",
    "COLORTERM",
    "FTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LANGUAGE",
    "NO_PROXY",
    "PYENV_VERSION",
    "RBENV_VERSION",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_TOOLCHAIN",
    "RUSTUP_UPDATE_ROOT",
    "TERM",
    "TZ",
    "all_proxy",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Variables that name files or directories of certificates, several of them separated by colons.
pub(crate) const CERTIFICATES: &[&str] = &[
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// Names that no tool directory shows at its top: people's keys and passwords.
pub(crate) const CREDENTIALS: &[&str] = &[
    ".aws",
    ".docker",
    ".env",
    ".git-credentials",
    ".gnupg",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh",
    ".yarnrc.yml",
    "auth.json",
    "credentials",
    "credentials.json",
    "credentials.toml",
    "pip.conf",
];

/// Names of directories that people keep other things of theirs in; no link on `PATH` makes us show what is in them.
pub(crate) const PERSONAL: &[&str] =
    &[".azure", ".config", ".kube", ".mozilla", ".password-store", ".pki", ".thunderbird", "keyrings"];
