//! The words of a greeting; showing them is the program's affair.

/// A greeting for these people, or for the world if there is nobody.
///
/// ```
/// assert_eq!(hello::greeting(&["Ada".to_owned()]), "Hello, Ada!");
/// ```
#[must_use]
pub fn greeting(names: &[String]) -> String {
    match names {
        [] => "Hello, world!".into(),
        [one] => format!("Hello, {one}!"),
        [most @ .., last] => format!("Hello, {} and {last}!", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greet(names: &[&str]) -> String {
        greeting(&names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn everybody_is_named() {
        assert_eq!(greet(&[]), "Hello, world!");
        assert_eq!(greet(&["Ada"]), "Hello, Ada!");
        assert_eq!(greet(&["Ada", "Grace", "Lin"]), "Hello, Ada, Grace and Lin!");
    }
}
