//! About how many tokens parts take with a provider, and what is cut so that they fit into a number of them.

use std::sync::Arc;

use super::{Entry, Provider};
use crate::{
    context::{
        encode::scale_media,
        part::{Media, Part},
    },
    error::{Error, ErrorKind, Result},
    estimate_tokens,
};

/// What the frame of an item takes.
const ITEM_TOKENS: usize = 4;
/// The least that is left of a text that is cut.
const TEXT_TOKENS: usize = 32;
/// What a page takes of a PDF that the provider reads by itself: its image and its words.
const PAGE_TOKENS: usize = 2_000;

/// The tokens of all entries.
pub(super) fn count(provider: Provider, entries: &[Entry]) -> usize {
    entries.iter().map(|entry| of_entry(provider, entry)).sum()
}

fn of_entry(provider: Provider, entry: &Entry) -> usize {
    let parts: usize = entry.parts.iter().map(|part| of_part(provider, part)).sum();
    ITEM_TOKENS + estimate_tokens(&entry.lead) + parts
}

fn of_part(provider: Provider, part: &Part) -> usize {
    match part {
        Part::Text(text) => estimate_tokens(text),
        Part::Media(media) => of_media(provider, media),
        // What is there is not known before it is fetched: an image of a usual size.
        Part::Link { .. } => of_image(provider, (1_024, 1_024)),
    }
}

fn of_media(provider: Provider, media: &Media) -> usize {
    if let Some(size) = media.size {
        return of_image(provider, size);
    }
    if let Some(pages) = media.pages {
        return pages * if provider == Provider::Gemini { 258 } else { PAGE_TOKENS };
    }
    let is_video = media.media_type.starts_with("video/");
    // Where it does not say how long it plays, as long as its bytes would at a usual rate.
    let seconds = media.duration.unwrap_or(media.bytes.len() as f64 / if is_video { 250_000.0 } else { 16_000.0 });
    let a_second = match (provider, is_video) {
        (Provider::Gemini, true) => 290.0,
        (Provider::Gemini, false) => 32.0,
        _ => 10.0,
    };
    #[expect(clippy::cast_sign_loss, reason = "times are positive")]
    let tokens = (seconds * a_second).ceil() as usize;
    tokens
}

/// What the providers' own documentation says of an image.
fn of_image(provider: Provider, (width, height): (u32, u32)) -> usize {
    let (width, height) = (f64::from(width), f64::from(height));
    let tiles = |width: f64, height: f64, side: f64| (width / side).ceil() * (height / side).ceil();
    let tokens = match provider {
        // Scaled to at most 2048 a side and 768 the shorter one, then tiles of 512.
        Provider::OpenAi | Provider::OpenAiResponses => {
            let scale = (2_048.0 / width.max(height)).min(1.0);
            let scale = scale.min(768.0 / width.min(height));
            85.0 + 170.0 * tiles(width * scale, height * scale, 512.0)
        }
        Provider::Anthropic => {
            let scale = (1_568.0 / width.max(height)).min(1.0);
            (width * scale * height * scale / 750.0).ceil()
        }
        Provider::Gemini if width.max(height) <= 384.0 => 258.0,
        Provider::Gemini => 258.0 * tiles(width, height, 768.0),
    };
    #[expect(clippy::cast_sign_loss, reason = "a sum of positive numbers")]
    let tokens = tokens as usize;
    tokens
}

/// Cuts the user's items until all fit: first images are scaled, then texts are cut, then items are left out, each time
/// from the least recent on. Every cut is told in the text.
pub(super) fn fit(provider: Provider, entries: &mut [Entry], budget: usize) -> Result<()> {
    let mut over = count(provider, entries).saturating_sub(budget);
    let sides: &[u32] = if provider == Provider::Gemini { &[384] } else { &[512, 256] };
    for side in sides {
        over = step(provider, entries, over, |entry, _| scale(provider, entry, *side, budget))?;
    }
    over = step(provider, entries, over, |entry, over| {
        cut(entry, over, budget);
        Ok(())
    })?;
    over = step(provider, entries, over, |entry, _| {
        leave_out(provider, entry, budget);
        Ok(())
    })?;
    if over > 0 {
        let needed = budget + over;
        return Err(Error::new(
            ErrorKind::Capacity,
            format!("what may not be cut takes about {needed} tokens, more than the budget of {budget}"),
        )
        .with_sizes(budget, needed)
        .with_hint("raise `budget_tokens`, or remove items"));
    }
    Ok(())
}

/// Changes the user's entries, the least recent first, until nothing is over; gives what is left over.
fn step(
    provider: Provider,
    entries: &mut [Entry],
    mut over: usize,
    mut change: impl FnMut(&mut Entry, usize) -> Result<()>,
) -> Result<usize> {
    for entry in entries.iter_mut().filter(|entry| !entry.is_system()) {
        if over == 0 {
            break;
        }
        let before = of_entry(provider, entry);
        change(entry, over)?;
        over = (over + of_entry(provider, entry)).saturating_sub(before);
    }
    Ok(over)
}

fn scale(provider: Provider, entry: &mut Entry, side: u32, budget: usize) -> Result<()> {
    let mut parts: Vec<Part> = Vec::with_capacity(entry.parts.len());
    for part in std::mem::take(&mut entry.parts) {
        let Part::Media(media) = &part else {
            parts.push(part);
            continue;
        };
        let scaled = match media.size {
            Some((width, height)) if width.max(height) > side => Some(scale_media(media, side)?),
            _ => None,
        };
        let Some(scaled) = scaled.filter(|scaled| of_media(provider, scaled) < of_media(provider, media)) else {
            parts.push(part);
            continue;
        };
        let (width, height) = scaled.size.unwrap_or_default();
        let told = format!("[scaled to {width}×{height} pixels to fit the budget of {budget} tokens]");
        let is_told = |part: &Part| matches!(part, Part::Text(text) if text.starts_with("[scaled to "));
        if parts.last().is_some_and(is_told) {
            parts.pop();
        }
        parts.push(Part::text(told));
        parts.push(Part::Media(Arc::new(scaled)));
    }
    entry.parts = parts;
    Ok(())
}

/// Cuts the texts of an entry, the longest first and each once, by as much as is over.
fn cut(entry: &mut Entry, mut over: usize, budget: usize) {
    let mut texts: Vec<(usize, &mut Arc<str>)> = entry
        .parts
        .iter_mut()
        .filter_map(|part| if let Part::Text(text) = part { Some((estimate_tokens(text), text)) } else { None })
        .collect();
    texts.sort_by_key(|(tokens, _)| std::cmp::Reverse(*tokens));
    for (tokens, text) in texts {
        let told = |kept: usize, all: usize| {
            format!("\n[cut: the first {kept} of {all} characters, to fit the budget of {budget} tokens]")
        };
        let all = text.chars().count();
        let note = estimate_tokens(&told(all, all)) + 1;
        if over == 0 || tokens <= TEXT_TOKENS + note {
            return;
        }
        let kept = prefix(text, tokens.saturating_sub(over + note).max(TEXT_TOKENS));
        let shorter = format!("{kept}{}", told(kept.chars().count(), all));
        over = over.saturating_sub(tokens.saturating_sub(estimate_tokens(&shorter)));
        *text = shorter.into();
    }
}

/// The longest beginning of a text that takes at most so many tokens.
fn prefix(text: &str, tokens: usize) -> &str {
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let fitting = ends.partition_point(|end| estimate_tokens(&text[..*end]) <= tokens);
    &text[..ends[fitting.saturating_sub(1)]]
}

fn leave_out(provider: Provider, entry: &mut Entry, budget: usize) {
    let told = vec![Part::text(format!("[left out to fit the budget of {budget} tokens]"))];
    let before: usize = entry.parts.iter().map(|part| of_part(provider, part)).sum();
    let after: usize = told.iter().map(|part| of_part(provider, part)).sum();
    if after < before {
        entry.parts = told;
    }
}
