//! Reading what clients send: decode, field validation (`fieldValidation=Strict|Warn|Ignore`) and the form Go
//! would write back.

mod body;
mod decode;
mod lex;
mod normalize;
mod scalars;
mod yaml;

pub use body::{Body, FieldValidation, Media, decode_body};
pub use decode::{DecodeError, Decoded, json};
pub(crate) use lex::Lexer;
pub use lex::SyntaxError;
pub use normalize::normalize;
pub use yaml::{YamlError, to_json as yaml_to_json};

pub(crate) use decode::{dropped, fill, zero};
pub(crate) use scalars::quantity;
