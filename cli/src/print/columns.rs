//! `-o custom-columns=NAME:.metadata.name,…`.

use super::{tabs, template};
use crate::error::{Result, message};
use gantry_machinery::patch::go_print;
use gantry_machinery::path::JsonPath;
use gantry_types::Document;
use gantry_types::field::go_quote;

#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<(String, JsonPath)>,
    headers: bool,
}

impl Columns {
    /// # Errors
    /// Columns without a name or path.
    pub fn parse(spec: &str, no_headers: bool) -> Result<Self> {
        if spec.is_empty() {
            return Err(message("custom-columns format specified but no custom columns given"));
        }
        let columns = spec
            .split(',')
            .map(|part| match part.split_once(':') {
                Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                    Ok((name.to_owned(), template::relaxed(path)?))
                }
                _ => Err(message(format!(
                    "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                ))),
            })
            .collect::<Result<_>>()?;
        Ok(Self { columns, headers: !no_headers })
    }

    /// Two lines: names, then paths.
    ///
    /// # Errors
    /// Where they do not pair.
    pub fn parse_file(text: &str, no_headers: bool) -> Result<Self> {
        let mut lines = text.lines();
        let mut words = || lines.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        let (names, paths) = (words(), words());
        if names.len() != paths.len() || names.is_empty() {
            return Err(message(format!(
                "number of headers ({}) and field specifications ({}) don't match {}",
                names.len(),
                paths.len(),
                go_quote(text)
            )));
        }
        let columns = names
            .into_iter()
            .zip(paths)
            .map(|(n, p)| Ok((n.to_owned(), template::relaxed(p)?)))
            .collect::<Result<_>>()?;
        Ok(Self { columns, headers: !no_headers })
    }

    pub fn render(&self, objects: &[Document]) -> String {
        let mut text = String::new();
        if self.headers {
            let names: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
            text = names.join("\t") + "\n";
        }
        for object in objects {
            let root = object.clone().into_value();
            let cells = self.columns.iter().map(|(_, path)| {
                let found: Vec<String> = path.find(&root).into_iter().map(go_print).collect();
                if found.is_empty() { "<none>".into() } else { found.join(",") }
            });
            text += &(cells.collect::<Vec<String>>().join("\t") + "\n");
        }
        // A value's own line ends begin new rows, as kubectl's writer takes them.
        tabs::text(&text, 6, 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_show_what_paths_find() {
        let d =
            Document::from_json(br#"{"metadata":{"name":"a"},"spec":{"c":[{"i":"x"},{"i":"y"}]}}"#).unwrap();
        let c = Columns::parse("N:.metadata.name,I:spec.c[*].i,M:.none", false).unwrap();
        assert_eq!(c.render(&[d]), "N     I     M\na     x,y   <none>\n");
        assert!(Columns::parse("N", false).is_err());
    }
}
