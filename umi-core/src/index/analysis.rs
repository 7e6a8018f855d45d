//! stub
use jiff::Timestamp;
#[derive(Debug)]
pub(crate) struct AnalysedPiece {
    pub(crate) ordinal: u32,
    pub(crate) text_to_embed: String,
    pub(crate) lexical: Vec<u8>,
}
pub(crate) fn analyse_episode(_: Option<&str>, _: Timestamp, _: &str) -> Vec<AnalysedPiece> {
    todo!()
}
pub(crate) fn analyse_fact(_: &str, _: Option<&str>, _: &str, _: Timestamp) -> AnalysedPiece {
    todo!()
}
