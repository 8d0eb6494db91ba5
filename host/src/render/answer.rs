//! Answer of the program in the sandbox: a line of JSON about how it went, and below it the document. Whoever wrote the
//! project's files may have written the answer as well, so it is read like any other document of theirs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Interpreter, Raised, RenderError};
use crate::pipeline::{NamedPipeline, Scripts, parse};

/// First line of the answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReplyHeader {
    /// It went well. By slug: the file and line of each pipeline, as far as they are known.
    Places(BTreeMap<String, String>),
    /// Something was raised: what Python tells of it.
    Raised(String),
    /// There is no harmont: the version of the interpreter.
    NoHarmont(String),
    /// There is one that cannot be imported: the version of the interpreter, and what it says.
    BrokenHarmont(String, String),
    /// A file that is not in the snapshot.
    LeftOut(String),
}

/// Reads the answer of an interpreter that ended with `code`.
pub(super) fn read(
    bytes: &[u8],
    code: i32,
    python: &Interpreter,
    scripts: &Scripts,
) -> Result<Vec<NamedPipeline>, RenderError> {
    let folder = scripts.folder.clone();
    let program = python.program.clone();
    let (line, document) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    let header = serde_json::from_slice(line).ok().filter(|_| code == 0);
    let places = match header {
        None => return Err(RenderError::Ended { folder, python: program, code }),
        Some(ReplyHeader::Places(places)) => places,
        Some(ReplyHeader::Raised(text)) => return Err(RenderError::Raised { folder, source: Raised(text) }),
        Some(ReplyHeader::NoHarmont(version)) => {
            return Err(RenderError::NoHarmont { python: program, version });
        }
        Some(ReplyHeader::BrokenHarmont(version, text)) => {
            return Err(RenderError::BrokenHarmont { python: program, version, source: Raised(text) });
        }
        Some(ReplyHeader::LeftOut(file)) => return Err(RenderError::LeftOut { file: folder.join(file) }),
    };
    let origin = folder.display().to_string();
    let mut pipelines = parse(document, &origin, scripts.name)
        .map_err(|source| RenderError::Document { folder: folder.clone(), source: Box::new(source) })?;
    for pipeline in &mut pipelines {
        pipeline.without_text();
        if let Some(place) = places.get(&pipeline.slug) {
            pipeline.origin = folder.parent().unwrap_or(&folder).join(place).display().to_string();
        }
    }
    Ok(pipelines)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn answered(text: &str, code: i32) -> Result<Vec<(String, String)>, String> {
        let python = Interpreter { program: "/py".into(), needs: Vec::new(), user_base: None };
        let scripts =
            Scripts { folder: PathBuf::from("/p/.hm"), name: ".hm", files: vec!["ci.py".to_owned()] };
        let read = read(text.as_bytes(), code, &python, &scripts);
        read.map(|all| all.into_iter().map(|one| (one.slug, one.origin)).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn pipelines_are_called_after_the_line_that_registers_them() {
        let text = r#"{"places": {"a": ".hm/ci.py:4"}}
            {"schema_version": "1", "pipelines": [{"slug": "a", "definition": {}}, {"slug": "b", "definition": {}}]}"#;
        let expected = [("a", "/p/.hm/ci.py:4"), ("b", "/p/.hm")];
        let expected = expected.map(|(slug, origin)| (slug.to_owned(), origin.to_owned()));
        assert_eq!(answered(text, 0), Ok(expected.into()));
    }

    #[test]
    fn whatever_else_it_answers_is_an_error() {
        let ended = "rendering the pipelines in /p/.hm ended early: /py exited with";
        for (text, code, expected) in [
            ("", 0, format!("{ended} 0")),
            ("{\"places\": {}}\n{}", 139, format!("{ended} 139")),
            ("true\n{}", 0, format!("{ended} 0")),
            ("{\"else\": 1}\n{}", 0, format!("{ended} 0")),
            ("{\"raised\": \"x\"}\n", 0, "the pipelines in /p/.hm cannot be rendered".to_owned()),
            (
                "{\"no_harmont\": \"3.9\"}\n",
                0,
                "the package harmont is not installed for /py (Python 3.9)".to_owned(),
            ),
            (
                "{\"broken_harmont\": [\"3.9\", \"x\"]}",
                0,
                "/py (Python 3.9) cannot import its package harmont".to_owned(),
            ),
            (
                "{\"left_out\": \"x.py\"}",
                0,
                "/p/.hm/x.py is not part of the project as steps see it: git or a .hmignore ignores it"
                    .to_owned(),
            ),
            (
                "{\"places\": {}}\n[]",
                0,
                "what harmont made of the pipelines in /p/.hm is not right".to_owned(),
            ),
        ] {
            assert_eq!(answered(text, code), Err(expected), "{text}");
        }
    }
}
