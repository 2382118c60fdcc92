//! Printers: what `-o` names, and the short line after a change.

pub mod columns;
pub mod json;
pub mod sort;
pub mod table;
pub mod tabs;
pub mod template;
pub mod usage;
pub mod yaml;

use crate::error::{Result, message};
use crate::resources::Info;
use gantry_types::Document;
use gantry_types::field::go_quote;

/// How objects are shown.
#[derive(Clone, Debug)]
pub enum Format {
    /// The server's table; wide where asked.
    Table {
        wide: bool,
    },
    Name,
    Json,
    Yaml,
    Template(template::Template),
    /// Results as a JSON list.
    TemplateJson(template::Template),
    Columns(columns::Columns),
}

const FORMATS: &str =
    "custom-columns,custom-columns-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,wide,yaml";

impl Format {
    /// Reads `-o`.
    ///
    /// # Errors
    /// Unknown formats, broken templates, missing files.
    pub fn parse(text: &str, no_headers: bool) -> Result<Self> {
        let (name, rest) = match text.find('=') {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, ""),
        };
        let file = |path: &str| {
            std::fs::read_to_string(path)
                .map_err(|e| message(format!("error reading --template {path}, {e}")))
        };
        Ok(match name {
            "" => Self::Table { wide: false },
            "wide" => Self::Table { wide: true },
            "name" => Self::Name,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "jsonpath" => Self::Template(template::Template::parse(rest)?),
            "jsonpath-file" => Self::Template(template::Template::parse(&file(rest)?)?),
            "jsonpath-as-json" => Self::TemplateJson(template::Template::parse(rest)?),
            "custom-columns" => Self::Columns(columns::Columns::parse(rest, no_headers)?),
            "custom-columns-file" => Self::Columns(columns::Columns::parse_file(&file(rest)?, no_headers)?),
            _ => {
                return Err(message(format!(
                    "unable to match a printer suitable for the output format {}, allowed formats are: {FORMATS}",
                    go_quote(text)
                )));
            }
        })
    }

    /// Prints one object.
    ///
    /// # Errors
    /// Templates that do not fit.
    pub fn object(&self, object: &Document) -> Result<String> {
        Ok(match self {
            Self::Table { .. } | Self::Name => format!("{}\n", name_of(object)),
            Self::Json => format!("{}\n", json::pretty(&object.clone().into_value())),
            Self::Yaml => yaml::text(&object.clone().into_value()),
            Self::Template(t) => t.render(&object.clone().into_value())?,
            Self::TemplateJson(t) => t.render_json(&object.clone().into_value())?,
            Self::Columns(c) => c.render(std::slice::from_ref(object)),
        })
    }

    /// Prints several objects as one list.
    ///
    /// # Errors
    /// Templates that do not fit.
    pub fn objects(&self, objects: Vec<Document>) -> Result<String> {
        match self {
            Self::Columns(c) => Ok(c.render(&objects)),
            Self::Name | Self::Table { .. } => {
                Ok(objects.iter().map(|o| format!("{}\n", name_of(o))).collect())
            }
            _ => {
                let mut list = Document::default();
                list.set_type("v1", "List");
                list.set_at(&["metadata", "resourceVersion"], "");
                let items: Vec<_> = objects.iter().map(Document::map).collect();
                list.set_at(&["items"], items);
                self.object(&list)
            }
        }
    }
}

/// `pod/x`, `deployment.apps/x`.
pub fn name_of(object: &Document) -> String {
    let kind = object.kind().to_lowercase();
    match object.api_version().split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", object.name()),
        None => format!("{kind}/{}", object.name()),
    }
}

/// Hides who owns which field, as printing does unless asked.
pub fn hide_managed_fields(object: &mut Document) {
    object.remove_at(&["metadata", "managedFields"]);
}

/// How a changed object is told: `pod/x created`, or as `-o` says.
pub struct Said {
    format: Option<Format>,
    dry: &'static str,
    managed: bool,
}

impl Said {
    /// From `-o`, `--dry-run` and `--show-managed-fields`.
    ///
    /// # Errors
    /// Unknown formats.
    pub fn read(args: &crate::flags::Args, dry: DryRun) -> Result<Self> {
        let text = args.text("output");
        let format = if text.is_empty() { None } else { Some(Format::parse(text, false)?) };
        let dry = match dry {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        };
        Ok(Self { format, dry, managed: args.on("show-managed-fields") })
    }

    /// Tells of one object.
    ///
    /// # Errors
    /// Templates that do not fit.
    pub fn tell(&self, info: &Info, done: &str) -> Result<()> {
        match &self.format {
            None => outln!("{} {done}{}", info.named(), self.dry),
            Some(Format::Name) => outln!("{}", info.named()),
            Some(format) => {
                let mut object = info.object.clone();
                if !self.managed {
                    hide_managed_fields(&mut object);
                }
                out!("{}", format.object(&object)?);
            }
        }
        Ok(())
    }
}

/// `--dry-run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    None,
    Client,
    Server,
}

impl DryRun {
    /// # Errors
    /// Unknown values.
    pub fn read(args: &crate::flags::Args) -> Result<Self> {
        match args.text("dry-run") {
            "none" | "" | "false" => Ok(Self::None),
            "client" | "true" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            "unchanged" => Err(message(
                "--dry-run was set without a value, a value must be set: \"none\", \"server\", or \"client\".",
            )),
            other => Err(message(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// The query pair.
    pub fn pair(self) -> (&'static str, &'static str) {
        ("dryRun", if self == Self::Server { "All" } else { "" })
    }
}
