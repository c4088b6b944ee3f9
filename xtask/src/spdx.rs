//! Licence expressions: whether one can be satisfied with a list of allowed licences.
//!
//! Lives here: SPDX's AND, OR, WITH and brackets, and the old slash of Cargo manifests for OR. Must not live here: which
//! licences are allowed (`deny.toml`).

/// Whether `expression` can be satisfied by licences for which `allowed` says yes; it is asked about `ID` or
/// `ID WITH EXCEPTION`.
///
/// # Errors
/// The text is no licence expression.
pub(crate) fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = Words(spaced.split_whitespace().collect(), 0);
    let answer = words.any(allowed)?;
    match words.peek() {
        None => Ok(answer),
        Some(word) => Err(format!("{expression:?}: {word:?} is out of place")),
    }
}

struct Words<'a>(Vec<&'a str>, usize);

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.0.get(self.1).copied()
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.1 += usize::from(found);
        found
    }

    /// Alternatives. Both sides are always read, a right side is never skipped.
    fn any(&mut self, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
        let mut answer = self.every(allowed)?;
        while self.accept("OR") {
            answer |= self.every(allowed)?;
        }
        Ok(answer)
    }

    /// Licences that hold together; AND binds tighter than OR.
    fn every(&mut self, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
        let mut answer = self.one(allowed)?;
        while self.accept("AND") {
            answer &= self.one(allowed)?;
        }
        Ok(answer)
    }

    fn one(&mut self, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
        if self.accept("(") {
            let answer = self.any(allowed)?;
            return match self.accept(")") {
                true => Ok(answer),
                false => Err("a bracket is not closed".to_owned()),
            };
        }
        let id = self.id()?;
        match self.accept("WITH") {
            true => Ok(allowed(&format!("{id} WITH {}", self.id()?))),
            false => Ok(allowed(id)),
        }
    }

    fn id(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Some(word) if !["(", ")", "AND", "OR", "WITH"].contains(&word) => {
                self.1 += 1;
                Ok(word)
            }
            Some(word) => Err(format!("{word:?} where a licence should be")),
            None => Err("ends where a licence should be".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(allowed: &'static [&'static str]) -> impl Fn(&str) -> bool {
        move |id| allowed.contains(&id)
    }

    #[test]
    fn either_licence_is_enough_and_both_are_needed() {
        let mit = with(&["MIT"]);
        assert_eq!(satisfied("MIT OR GPL-3.0", &mit), Ok(true));
        assert_eq!(satisfied("GPL-3.0/MIT", &mit), Ok(true));
        assert_eq!(satisfied("MIT AND GPL-3.0", &mit), Ok(false));
        assert_eq!(satisfied("(MIT OR GPL-3.0) AND Unicode-3.0", &mit), Ok(false));
        assert_eq!(satisfied("GPL-3.0 AND Zlib OR MIT", &mit), Ok(true));
        assert_eq!(satisfied("GPL-3.0 AND (Zlib OR MIT)", &mit), Ok(false));
    }

    #[test]
    fn an_exception_is_a_licence_of_its_own() {
        assert_eq!(
            satisfied("Apache-2.0 WITH LLVM-exception", &with(&["Apache-2.0"])),
            Ok(false)
        );
        let both = with(&["Apache-2.0 WITH LLVM-exception"]);
        assert_eq!(
            satisfied("Apache-2.0 WITH LLVM-exception OR MIT", &both),
            Ok(true)
        );
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in ["", "MIT OR", "(MIT", "MIT Zlib", "AND", "MIT)", "MIT WITH"] {
            assert!(satisfied(text, &with(&["MIT"])).is_err(), "{text:?}");
        }
    }
}
