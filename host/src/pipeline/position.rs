//! Position of a field in the text of a document. The parser keeps none, and few are ever asked for, so the text is
//! walked again for each.

/// Line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the line.
    pub line: usize,
    /// Number of the column.
    pub column: usize,
}

/// A part of the way from the whole document to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Field(String),
    Item(usize),
}

impl From<&str> for Segment {
    fn from(field: &str) -> Self {
        Self::Field(field.into())
    }
}

impl From<usize> for Segment {
    fn from(item: usize) -> Self {
        Self::Item(item)
    }
}

/// Position of a field's name, or of an item, in a text that is valid JSON; nothing if it is not there.
pub(super) fn position_of(text: &str, path: &[Segment]) -> Option<Position> {
    let mut walk = Walk { bytes: text.as_bytes(), at: 0 };
    let mut found = 0;
    for segment in path {
        found = match segment {
            Segment::Field(field) => walk.enter_field(field)?,
            Segment::Item(item) => walk.enter_item(*item)?,
        };
    }
    let before = text.get(..found)?;
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    Some(Position { line, column: before[line_start..].chars().count() + 1 })
}

/// A walk through a text that is known to be JSON. It ends without a result where the text is not.
struct Walk<'t> {
    bytes: &'t [u8],
    /// Start of a value, perhaps with blanks before it.
    at: usize,
}

impl Walk<'_> {
    /// Walks into the value of a field; answers where its name starts.
    fn enter_field(&mut self, field: &str) -> Option<usize> {
        self.enter(b'{')?;
        loop {
            self.blanks();
            let start = self.at;
            self.skip_string()?;
            let name: String = serde_json::from_slice(&self.bytes[start..self.at]).ok()?;
            self.enter(b':')?;
            if name == field {
                return Some(start);
            }
            self.skip()?;
            self.enter(b',')?;
        }
    }

    /// Walks to an item of a list; answers where it starts.
    fn enter_item(&mut self, item: usize) -> Option<usize> {
        self.enter(b'[')?;
        for _ in 0..item {
            self.skip()?;
            self.enter(b',')?;
        }
        self.blanks();
        Some(self.at)
    }

    fn blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn enter(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        let is_there = *self.bytes.get(self.at)? == byte;
        self.at += 1;
        is_there.then_some(())
    }

    fn skip_string(&mut self) -> Option<()> {
        self.enter(b'"')?;
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return Some(());
            }
        }
    }

    /// Walks behind a value, without recursion.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            self.blanks();
            match *self.bytes.get(self.at)? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => {
                    let rest = &self.bytes[self.at..];
                    let end = |byte: &u8| b",:]}\"".contains(byte) || byte.is_ascii_whitespace();
                    self.at += rest.iter().position(end).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_stands_before_them() {
        let text = "{\"a\": [1, -2.5e3, true, \"}\\\"]\", {\"b\": [[], {}]}],\n\t\"ä\\u0062\" : {\"c\":null,\"ö\": 1, \"d\" :[0, {\"e\":1}]}}";
        let found = |path: &[Segment]| position_of(text, path).map(|at| (at.line, at.column));
        assert_eq!(found(&["a".into()]), Some((1, 2)));
        assert_eq!(found(&["a".into(), 4.into(), "b".into()]), Some((1, 34)));
        assert_eq!(found(&["äb".into()]), Some((2, 2)));
        assert_eq!(found(&["äb".into(), "d".into(), 1.into(), "e".into()]), Some((2, 42)));
        assert_eq!(found(&["a".into(), 9.into()]), None);
        assert_eq!(found(&["z".into()]), None);
    }
}
