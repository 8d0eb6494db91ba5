//! The imports of Rust files, read from their tokens: groups, line breaks, comments and strings make no difference.
//! The checks decide which of them a module may have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path from the root of its crate: `["a", "b", "C"]` for `crate::a::b::C`.
pub(crate) type CratePath = Vec<String>;

/// The sources of a crate by module; that of the root is the empty path.
pub(crate) type Sources = BTreeMap<CratePath, String>;

/// Module of a file, given its path from the folder of the crate's root: `["a", "b"]` for `a/b.rs` and `a/b/mod.rs`.
pub(crate) fn module_of(file: &Path) -> CratePath {
    let mut module: CratePath =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Names that a file takes from its own crate.
#[derive(Default)]
struct Names {
    /// Paths, in `use` and elsewhere.
    paths: BTreeSet<CratePath>,
    /// Names that its `use` lines bring into a module, each with the path behind it: others can name the module instead.
    handed_on: BTreeMap<CratePath, CratePath>,
}

/// Paths within its own crate that a file names, in `use` and elsewhere, without those that only tests name.
pub(crate) fn imports(source: &str, module: &[String]) -> BTreeSet<CratePath> {
    names(source, module).paths
}

fn names(source: &str, module: &[String]) -> Names {
    let tokens: TokenStream = source.parse().unwrap_or_else(|error| panic!("{module:?}: {error}"));
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Names::default();
    Scope { module, children: &declared(&tokens) }.collect(&tokens, &mut found);
    found
}

/// Circles of files that import each other, each as a sorted list of modules. Who takes a name from a file that only hands it
/// on depends on the file that has it.
pub(crate) fn circles(sources: &Sources) -> BTreeSet<Vec<String>> {
    let found: BTreeMap<&CratePath, Names> =
        sources.iter().map(|(module, source)| (module, names(source, module))).collect();
    let handed_on = found.values().flat_map(|names| &names.handed_on).collect();
    let imported: BTreeMap<&[String], BTreeSet<&[String]>> = found
        .iter()
        .map(|(module, names)| {
            let files = names.paths.iter().filter_map(|path| file_of(sources, &handed_on, path));
            (module.as_slice(), files.filter(|file| file != module).collect())
        })
        .collect();
    let reached: BTreeMap<&[String], BTreeSet<&[String]>> =
        imported.keys().map(|module| (*module, reachable(&imported, module))).collect();
    let circle_of = |module: &&[String]| -> Vec<String> {
        let returns = |other: &&&[String]| reached.get(*other).is_some_and(|back| back.contains(module));
        let circle = reached.get(module).into_iter().flatten().filter(returns);
        circle.map(|other| format!("crate::{}", other.join("::"))).collect()
    };
    reached.keys().map(circle_of).filter(|circle| !circle.is_empty()).collect()
}

/// The module whose file a path leads into: the longest one that it begins with, or the one that the name in it is from.
fn file_of<'s>(
    sources: &'s Sources,
    handed_on: &BTreeMap<&CratePath, &CratePath>,
    path: &[String],
) -> Option<&'s [String]> {
    let mut path = path.to_vec();
    let mut followed = BTreeSet::new();
    loop {
        let module = (0..=path.len()).rev().find_map(|end| sources.get_key_value(&path[..end]));
        let module = module.map(|(module, _)| module)?;
        let name = path.get(..=module.len()).map(<[String]>::to_vec);
        match name.as_ref().and_then(|name| handed_on.get(name)) {
            // Two modules may hand all names to each other.
            Some(behind) if followed.insert(path.clone()) => {
                path = behind.iter().chain(&path[module.len() + 1..]).cloned().collect();
            }
            _ => return Some(module),
        }
    }
}

fn reachable<'s>(
    imported: &BTreeMap<&[String], BTreeSet<&'s [String]>>,
    start: &'s [String],
) -> BTreeSet<&'s [String]> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&[String]> = vec![start];
    while let Some(module) = waiting.pop() {
        let next = imported.get(module).into_iter().flatten();
        waiting.extend(next.copied().filter(|file| reached.insert(*file)));
    }
    reached
}

/// The module that tokens stand in, and the modules that it declares: its paths can begin with their names.
struct Scope<'a> {
    module: &'a [String],
    children: &'a BTreeSet<String>,
}

impl Scope<'_> {
    fn collect(&self, tokens: &[TokenTree], found: &mut Names) {
        let mut rest = tokens;
        while let Some((first, after)) = rest.split_first() {
            rest = match (first, after) {
                (TokenTree::Punct(punct), [TokenTree::Group(attribute), item @ ..])
                    if punct.as_char() == '#' && is_for_tests(attribute) =>
                {
                    after_item(item)
                }
                // The rest of a path whose beginning is no name: `<T as Trait>::name`, `::name`.
                (TokenTree::Punct(one), [TokenTree::Punct(two), TokenTree::Ident(_), end @ ..])
                    if one.as_char() == ':' && two.as_char() == ':' =>
                {
                    end
                }
                (TokenTree::Ident(keyword), [TokenTree::Ident(name), TokenTree::Group(body), end @ ..])
                    if keyword == "mod" =>
                {
                    let module: CratePath = self.module.iter().cloned().chain([name.to_string()]).collect();
                    let body = inside(body);
                    Scope { module: &module, children: &declared(&body) }.collect(&body, found);
                    end
                }
                (TokenTree::Ident(keyword), _) if keyword == "use" => {
                    let end = after.iter().position(|token| is_punct(token, ';')).unwrap_or(after.len());
                    self.collect_use(&after[..end], &[], found);
                    &after[end..]
                }
                (TokenTree::Ident(_), _) => {
                    let (path, end) = path_at(rest);
                    found.paths.extend(self.resolve(&path));
                    end
                }
                (TokenTree::Group(group), _) => {
                    self.collect(&inside(group), found);
                    after
                }
                _ => after,
            };
        }
    }

    /// Adds the paths of a `use`, or of a group in one, which all begin with `prefix`.
    fn collect_use(&self, tokens: &[TokenTree], prefix: &[String], found: &mut Names) {
        for part in tokens.split(|token| is_punct(token, ',')).filter(|part| !part.is_empty()) {
            let mut path = prefix.to_vec();
            for token in part {
                match token {
                    // The last token of the part is the other name.
                    TokenTree::Ident(name) if name == "as" => break,
                    TokenTree::Ident(name) if name == "self" && !path.is_empty() => {}
                    TokenTree::Ident(name) => path.push(name.to_string()),
                    TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".to_owned()),
                    TokenTree::Group(group) => {
                        self.collect_use(&inside(group), &path, found);
                        path.clear();
                    }
                    _ => {}
                }
            }
            let Some(path) = self.resolve(&path) else { continue };
            if let Some(TokenTree::Ident(name)) = part.last() {
                let name = if name == "self" { path.last().cloned() } else { Some(name.to_string()) };
                found.handed_on.insert(self.module.iter().cloned().chain(name).collect(), path.clone());
            }
            found.paths.insert(path);
        }
    }

    /// The path from the root of the crate; none if it leads into another crate, or is but one name.
    fn resolve(&self, path: &[String]) -> Option<CratePath> {
        let (first, mut rest) = path.split_first().filter(|(_, rest)| !rest.is_empty())?;
        let mut base = self.module.to_vec();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()?),
            name if self.children.contains(name) => rest = path,
            _ => return None,
        }
        while let Some((_, below)) = rest.split_first().filter(|(name, _)| *name == "super") {
            base.pop()?;
            rest = below;
        }
        base.extend_from_slice(rest);
        Some(base)
    }
}

/// Names of the modules that these tokens declare, on their own level.
fn declared(tokens: &[TokenTree]) -> BTreeSet<String> {
    let pairs = tokens.windows(2).filter_map(|pair| match pair {
        [TokenTree::Ident(keyword), TokenTree::Ident(name)] if keyword == "mod" => Some(name.to_string()),
        _ => None,
    });
    pairs.collect()
}

/// The path of names that begins with the first token, and the tokens behind it.
fn path_at(tokens: &[TokenTree]) -> (Vec<String>, &[TokenTree]) {
    let (mut path, mut rest) = (Vec::new(), tokens);
    while let [TokenTree::Ident(name), after @ ..] = rest {
        path.push(name.to_string());
        rest = after;
        match rest {
            [one, two, next @ ..] if is_punct(one, ':') && is_punct(two, ':') => match next.first() {
                Some(TokenTree::Ident(_)) => rest = next,
                _ => break,
            },
            _ => break,
        }
    }
    (path, rest)
}

/// True for the brackets of `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn is_for_tests(attribute: &Group) -> bool {
    let begins =
        |tokens: &[TokenTree], word: &str| matches!(tokens, [TokenTree::Ident(name), ..] if name == word);
    let attribute = inside(attribute);
    let [TokenTree::Ident(name), TokenTree::Group(condition)] = attribute.as_slice() else { return false };
    let condition = inside(condition);
    let all = begins(&condition, "all")
        && matches!(condition.get(1), Some(TokenTree::Group(all)) if begins(&inside(all), "test"));
    name == "cfg" && (begins(&condition, "test") || all)
}

/// The tokens behind an item: behind its body, or behind its semicolon if it has none.
fn after_item(tokens: &[TokenTree]) -> &[TokenTree] {
    let has_no_body = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "use");
    let is_use = tokens.iter().take_while(|token| !is_body(token)).any(has_no_body);
    let is_end = |token: &TokenTree| is_punct(token, ';') || is_body(token) && !is_use;
    let end = tokens.iter().position(is_end).map_or(tokens.len(), |last| last + 1);
    &tokens[end..]
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_punct(token: &TokenTree, letter: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == letter)
}

fn inside(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// Imports of `source` in module `a::b`, as text.
#[cfg(test)]
fn found(source: &str) -> Vec<String> {
    let module = ["a".to_owned(), "b".to_owned()];
    imports(source, &module).into_iter().map(|path| path.join("::")).collect()
}

#[test]
fn groups_are_read_to_their_leaves() {
    assert_eq!(
        found("use crate::{cli::X, cache::{self, y::{Z as W, V,}}, d};"),
        ["cache", "cache::y::V", "cache::y::Z", "cli::X", "d"]
    );
    assert_eq!(found("pub(crate) use crate::\n    c::*;"), ["c::*"]);
}

#[test]
fn relative_paths_are_paths_of_the_crate() {
    let source = "mod child; use super::c::X; use self::child::Y; pub use child::Z; use super::super::d::W;";
    assert_eq!(found(source), ["a::b::child::Y", "a::b::child::Z", "a::c::X", "d::W"]);
    assert_eq!(found("mod inner { use super::X; use super::super::c::Y; }"), ["a::b::X", "a::c::Y"]);
}

#[test]
fn paths_count_wherever_they_stand() {
    let source =
        "mod child; fn f(x: &crate::c::X) -> Vec<super::d::Y> { vec![child::g::<crate::e::Z>(self.x)] }";
    assert_eq!(found(source), ["a::b::child::g", "a::d::Y", "c::X", "e::Z"]);
    assert_eq!(found("macro_rules! m { ($x:expr) => { $crate::c::f($x) }; }"), ["c::f"]);
}

#[test]
fn other_crates_comments_texts_and_visibilities_are_no_imports() {
    let source = r#"
        mod io;
        use std::{fmt, io::{self, Write}};
        // use crate::c::X;
        /// [`crate::c::X`]
        pub(in crate::a) fn f() { let text = "crate::c::X"; <X as other::T>::io::g(); ::io::h(); }
    "#;
    assert_eq!(found(source), ["a"]);
}

#[test]
fn imports_of_tests_are_left_out_and_those_behind_them_are_not() {
    let source = "
        #[cfg(test)] use crate::{c::X};
        #[cfg(test)] #[allow(x)] mod tests { use crate::d::Y; }
        #[cfg(all(test, unix))] fn f() { crate::e::g() }
        #[cfg(unix)] use crate::kept::Z;
    ";
    assert_eq!(found(source), ["kept::Z"]);
}

#[test]
fn circles_go_through_folders_and_reexports() {
    let sources: Sources = [
        ("lib.rs", "mod a; mod b; mod c; pub use a::X;"),
        ("a/mod.rs", "mod inner; pub use inner::X;"),
        ("a/inner.rs", "use crate::{b::{Y}};"),
        ("b.rs", "use crate::a; pub struct Y;"),
        ("c.rs", "use crate::a::X; #[cfg(test)] mod tests { use super::*; }"),
    ]
    .into_iter()
    .map(|(file, source)| (module_of(Path::new(file)), source.to_owned()))
    .collect();
    assert_eq!(
        circles(&sources),
        BTreeSet::from([vec!["crate::a", "crate::a::inner", "crate::b"]
            .into_iter()
            .map(str::to_owned)
            .collect()])
    );
}

#[test]
fn a_file_that_hands_names_on_ties_nobody_to_its_own() {
    let sources = |lib: &str| -> Sources {
        [("lib.rs", lib), ("a.rs", "use crate::Y; pub struct X;"), ("b.rs", "pub struct Y;")]
            .into_iter()
            .map(|(file, source)| (module_of(Path::new(file)), source.to_owned()))
            .collect()
    };
    assert_eq!(circles(&sources("mod a; mod b; pub use a::X; pub use b::Y;")), BTreeSet::new());
    assert_eq!(circles(&sources("mod a; mod b; pub use a::X; pub use b::Z as Y;")), BTreeSet::new());
    assert_eq!(circles(&sources("mod a; mod b; pub use a::X; pub struct Y;")).len(), 1);
}
