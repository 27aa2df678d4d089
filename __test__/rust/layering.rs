//! The direction between the layers of `src/`: `kernel <- ports <- engine <- ffi`, and `kernel, ports <- backends <- ffi`.
//!
//! `cargo check --no-default-features` (in `npm run lint`) shows the same for kernel and ports by leaving everything else out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

const LAYERS: [&str; 5] = ["kernel", "ports", "engine", "backends", "ffi"];
const SYSTEMS: [&str; 4] = ["kafka", "cassandra", "redis", "embedded"];
/// The client crates, each for one backend alone.
const CLIENTS: [(&str, &str); 3] = [("rdkafka", "kafka"), ("scylla", "cassandra"), ("redis", "redis")];

struct Rule {
    layers: &'static [&'static str],
    /// `None`: all but napi.
    crates: Option<&'static [&'static str]>,
}

fn rule(layer: &str) -> Rule {
    match layer {
        // proptest: in its own tests.
        "kernel" => Rule { layers: &["kernel"], crates: Some(&["serde", "serde_json", "thiserror", "proptest"]) },
        "ports" => Rule { layers: &["kernel", "ports"], crates: Some(&["serde", "serde_json", "thiserror", "async_trait"]) },
        "engine" => Rule {
            layers: &["kernel", "ports", "engine"],
            crates: Some(&["serde", "serde_json", "thiserror", "async_trait", "futures_util", "tokio", "tracing"]),
        },
        "backends" => Rule { layers: &["kernel", "ports", "backends"], crates: None },
        other => panic!("no rule for src/{other}: give it one"),
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Name(String),
    Separator,
    Open,
    Close,
    Other,
}

/// Without comments and literals.
fn tokens(text: &str) -> Vec<Token> {
    let letters: Vec<char> = text.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let mut here = 0;
    while here < letters.len() {
        match (at(here), at(here + 1)) {
            ('/', '/') => {
                while here < letters.len() && at(here) != '\n' {
                    here += 1;
                }
            }
            ('r', '"') => here = behind(&letters, here + 2, "\""),
            ('r', '#') if at(here + 2) == '"' => here = behind(&letters, here + 3, "\"#"),
            ('"', _) => {
                here += 1;
                while here < letters.len() && at(here) != '"' {
                    here += if at(here) == '\\' { 2 } else { 1 };
                }
                here += 1;
            }
            ('\'', '\\') => here = behind(&letters, here + 3, "'"),
            ('\'', _) if at(here + 2) == '\'' => here += 3,
            (':', ':') => {
                found.push(Token::Separator);
                here += 2;
            }
            (letter, _) if letter.is_alphanumeric() || letter == '_' => {
                let from = here;
                while at(here).is_alphanumeric() || at(here) == '_' {
                    here += 1;
                }
                found.push(Token::Name(letters[from..here].iter().collect()));
            }
            (letter, _) => {
                match letter {
                    '{' => found.push(Token::Open),
                    '}' => found.push(Token::Close),
                    space if space.is_whitespace() => {}
                    _ => found.push(Token::Other),
                }
                here += 1;
            }
        }
    }
    found
}

fn behind(letters: &[char], from: usize, end: &str) -> usize {
    let end: Vec<char> = end.chars().collect();
    (from..letters.len()).find(|&at| letters[at..].starts_with(&end)).map_or(letters.len(), |at| at + end.len())
}

/// Every path of the text, those of `use` trees in full. A single name is a path where it stands behind `use`.
fn paths(tokens: &[Token]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut here = 0;
    while here < tokens.len() {
        let is_use = here > 0 && tokens[here - 1] == Token::Name("use".into());
        if matches!(tokens[here], Token::Name(_)) {
            let mut here_found = Vec::new();
            here = path(tokens, here, Vec::new(), &mut here_found);
            found.extend(here_found.into_iter().filter(|path| is_use || path.len() > 1));
        } else {
            here += 1;
        }
    }
    found
}

fn path(tokens: &[Token], mut here: usize, mut prefix: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    while let Some(Token::Name(name)) = tokens.get(here) {
        prefix.push(name.clone());
        here += 1;
        if tokens.get(here) != Some(&Token::Separator) {
            break;
        }
        here += 1;
        if tokens.get(here) == Some(&Token::Open) {
            here += 1;
            while here < tokens.len() && tokens[here] != Token::Close {
                here = match tokens[here] {
                    Token::Name(_) => path(tokens, here, prefix.clone(), found),
                    _ => here + 1,
                };
            }
            return here + 1;
        }
    }
    found.push(prefix);
    here
}

/// `["backends", "redis", "store"]` of `backends/redis/store.rs`; the module of a folder is the folder.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> = file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    module
}

/// Where a path leads within this crate, as far as layers are concerned.
fn target(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = match path[0].as_str() {
        "crate" => Vec::new(),
        "super" => module.to_vec(),
        _ => return None,
    };
    for name in path {
        match name.as_str() {
            "crate" => {}
            "super" => drop(base.pop()),
            name => base.push(name.to_owned()),
        }
    }
    base.first().is_some_and(|name| LAYERS.contains(&name.as_str())).then_some(base)
}

fn is_allowed(module: &[String], path: &[String], crates: &[String]) -> bool {
    let rule = rule(&module[0]);
    let system = module.get(1).filter(|name| SYSTEMS.contains(&name.as_str()));
    if let Some(target) = target(module, path) {
        let other = target.get(1).filter(|name| SYSTEMS.contains(&name.as_str()));
        let leads_to_other = target[0] == "backends" && module.len() > 1 && other.is_some() && other != system;
        return rule.layers.contains(&target[0].as_str()) && !leads_to_other;
    }
    let root = &path[0];
    // A module of its own may be called like a crate (`redis`): that is no path of the crate.
    if !crates.contains(root) || (module.len() == 1 && SYSTEMS.contains(&root.as_str())) {
        return true;
    }
    let client_of = CLIENTS.iter().find(|(client, _)| client == root);
    match rule.crates {
        Some(allowed) => allowed.contains(&root.as_str()),
        None => !root.starts_with("napi") && client_of.is_none_or(|(_, owner)| system.is_some_and(|own| own == owner)),
    }
}

fn violations(file: &Path, text: &str, crates: &[String]) -> Vec<String> {
    let module = module_of(file);
    let tokens = tokens(text);
    let named = tokens.contains(&Token::Name("napi".into())).then(|| format!("{}: napi", file.display()));
    let led = paths(&tokens).into_iter().filter(|path| !is_allowed(&module, path, crates));
    led.map(|path| format!("{}: {}", file.display(), path.join("::"))).chain(named).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All that Cargo.toml depends on, as paths name it.
fn crates() -> Vec<String> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut is_table = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            is_table = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (is_table, line.split_once(" = ")) {
            found.push(name.trim_start_matches('#').trim().replace('-', "_"));
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn no_layer_uses_what_stands_above_or_beside_it() {
    let (src, crates) = (root().join("src"), crates());
    assert!(crates.contains(&"tokio".to_owned()) && crates.contains(&"napi".to_owned()), "{crates:?}");
    let mut found = Vec::new();
    for layer in LAYERS.into_iter().filter(|&layer| layer != "ffi") {
        let files = files(&src.join(layer));
        assert!(!files.is_empty(), "src/{layer} holds nothing");
        for file in files {
            found.extend(violations(file.strip_prefix(&src).unwrap(), &fs::read_to_string(&file).unwrap(), &crates));
        }
    }
    assert!(found.is_empty(), "uses what it may not:\n{}", found.join("\n"));
}

#[test]
fn forbidden_directions_are_found() {
    let crates = crates();
    let forbidden = [
        ("kernel/job.rs", "use crate::ports::Clock;"),
        ("kernel/job.rs", "use crate::{kernel::error::FlowError, engine::Engine};"),
        ("kernel/job.rs", "fn wait() { tokio::spawn(async {}); }"),
        ("ports/clock.rs", "use crate::backends::clock;"),
        ("ports/mod.rs", "use super::engine::start;"),
        ("engine/io.rs", "fn f() -> crate::backends::embedded::Cluster { todo!() }"),
        ("engine/io.rs", "use rdkafka::consumer::Consumer;"),
        ("backends/kafka/mod.rs", "use crate::engine::start;"),
        ("backends/kafka/consumer.rs", "use super::super::redis::store;"),
        ("backends/kafka/consumer.rs", "use crate::backends::{lock, embedded::Cluster};"),
        ("backends/lock.rs", "use super::cassandra::session;"),
        ("backends/embedded/log.rs", "use scylla::client::session::Session;"),
        ("backends/redis/store.rs", "#[napi] fn f() {}"),
    ];
    for (file, text) in forbidden {
        assert_eq!(violations(Path::new(file), text, &crates).len(), 1, "{file}: {text}");
    }
    let allowed = [
        ("kernel/job.rs", "use super::ledger; // use tokio::sync;\nconst A: &str = \"tokio::spawn\";"),
        ("engine/io.rs", "use crate::{kernel::error::{Code, FlowError}, ports::Clock}; use tokio::sync;"),
        ("backends/redis/store.rs", "use redis::aio; use super::settings; use crate::backends::lock;"),
        ("backends/mod.rs", "pub mod redis; pub use redis::store;"),
    ];
    for (file, text) in allowed {
        assert_eq!(violations(Path::new(file), text, &crates), Vec::<String>::new(), "{file}: {text}");
    }
}
