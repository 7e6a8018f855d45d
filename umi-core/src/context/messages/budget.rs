//! About how many tokens parts take with a provider, and what is cut so that they fit into a number of them.

use std::sync::Arc;

use super::{Entry, OnError, Provider, in_its_place};
use crate::{
    context::{
        encode::{scale_media, scaled_size},
        parallel::in_parallel,
        part::{Media, Part},
        refs::RefId,
    },
    error::{Error, ErrorKind, Result},
    estimate_tokens,
};

/// The smallest box that the images of one item are scaled into, where it has several.
const LEAST_OF_MANY: u32 = 384;
/// What the frame of an item takes.
const ITEM_TOKENS: usize = 4;
/// The least that is left of a text that is cut.
const TEXT_TOKENS: usize = 32;
/// The size of an image that does not say it.
const USUAL_SIZE: (u32, u32) = (1_024, 1_024);
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
        // What is there is not known before it is fetched.
        Part::Link { .. } => of_image(provider, USUAL_SIZE),
    }
}

fn of_media(provider: Provider, media: &Media) -> usize {
    if let Some(size) = media.size {
        return of_image(provider, size);
    }
    if let Some(pages) = media.pages {
        return pages * if provider == Provider::Gemini { 258 } else { PAGE_TOKENS };
    }
    if media.media_type.starts_with("image/") {
        return of_image(provider, USUAL_SIZE);
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

/// Cuts the user's items until all fit: first images are scaled, then the last pages and frames are left out, then texts
/// are cut, then items are left out, then what is known of them is cut, at last one notice stands for many items; each time
/// from the least recent on. Every cut is told in the text.
pub(super) fn fit(provider: Provider, entries: &mut Vec<Entry>, budget: usize, on_error: OnError) -> Result<()> {
    if count(provider, entries) <= budget {
        return Ok(());
    }
    scale(provider, entries, budget, on_error)?;
    let over = count(provider, entries).saturating_sub(budget);
    let over = step(provider, entries, over, |entry, over| leave_out_images(provider, entry, over, budget));
    let over = step(provider, entries, over, |entry, over| cut(entry, over, budget));
    let over = step(provider, entries, over, |entry, _| leave_out(provider, entry, budget));
    let over = step(provider, entries, over, |entry, mut over| {
        if let Some(shorter) = shortened(&entry.lead, &mut over, budget) {
            entry.lead = shorter;
        }
    });
    let over = merge(provider, entries, over, budget);
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
    mut change: impl FnMut(&mut Entry, usize),
) -> usize {
    for entry in entries.iter_mut().filter(|entry| !entry.is_system()) {
        if over == 0 {
            break;
        }
        let before = of_entry(provider, entry);
        change(entry, over);
        over = (over + of_entry(provider, entry)).saturating_sub(before);
    }
    over
}

/// Scales images, the least recent first, into a box of 512 pixels, and where that is not enough into one of 256, but for
/// the pages and frames of one item: those could not be read, and there are fewer to leave out. What each will take is
/// known before, so that every one is scaled once, from what it was.
fn scale(provider: Provider, entries: &mut [Entry], budget: usize, on_error: OnError) -> Result<()> {
    let mut sides: Vec<Option<u32>> = vec![None; entries.len()];
    let mut over = count(provider, entries).saturating_sub(budget);
    let boxes: &[u32] = if provider == Provider::Gemini { &[384] } else { &[512, 256] };
    for side in boxes {
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_system()) {
            if over == 0 {
                break;
            }
            if *side < LEAST_OF_MANY && images(entry).count() > 1 {
                continue;
            }
            let (before, after) = (
                scaled_tokens(provider, entry, sides[index], budget),
                scaled_tokens(provider, entry, Some(*side), budget),
            );
            if after < before {
                sides[index] = Some(*side);
                over = over.saturating_sub(before - after);
            }
        }
    }
    let chosen: Vec<(usize, u32)> =
        sides.into_iter().enumerate().filter_map(|(index, side)| Some((index, side?))).collect();
    let made = in_parallel(chosen.len(), |place| {
        let (index, side) = chosen[place];
        scaled(provider, &entries[index], side, budget)
    });
    for ((index, _), parts) in chosen.into_iter().zip(made) {
        let entry = &mut entries[index];
        entry.parts = parts.or_else(|error| in_its_place(error, &entry.place, on_error))?;
    }
    Ok(())
}

/// The places of the images of an entry among its parts.
fn images(entry: &Entry) -> impl Iterator<Item = usize> + '_ {
    let is_image = |part: &Part| matches!(part, Part::Media(media) if media.media_type.starts_with("image/"));
    entry.parts.iter().enumerate().filter(move |(_, part)| is_image(part)).map(|(place, _)| place)
}

/// Leaves out as many images of an item with several as are over, from the last one on; the first one stays.
fn leave_out_images(provider: Provider, entry: &mut Entry, over: usize, budget: usize) {
    let places: Vec<usize> = images(entry).collect();
    let told = |left: usize| {
        let all = places.len();
        Part::text(format!("[the last {left} of {all} images left out to fit the budget of {budget} tokens]"))
    };
    let Some(droppable) = places.get(1..).filter(|droppable| !droppable.is_empty()) else { return };
    let needed = over + of_part(provider, &told(places.len()));
    let (mut saved, mut left) = (0, 0);
    for place in droppable.iter().rev() {
        if saved >= needed {
            break;
        }
        saved += of_part(provider, &entry.parts[*place]);
        left += 1;
    }
    let mut dropped: Vec<usize> = places[places.len() - left..].to_vec();
    // What tells how one was scaled goes with it; the words of its page stay.
    dropped.extend(places[places.len() - left..].iter().filter_map(|place| {
        let (before, Part::Media(media)) = (place.checked_sub(1)?, &entry.parts[*place]) else { return None };
        let (Part::Text(text), Part::Text(scaled)) = (&entry.parts[before], scaled_to(media.size?, budget)) else {
            return None;
        };
        (*text == scaled).then_some(before)
    }));
    let told = told(left);
    let mut place = 0;
    entry.parts.retain(|_| {
        place += 1;
        !dropped.contains(&(place - 1))
    });
    entry.parts.push(told);
}

/// The size of an image in a box, where that takes fewer tokens.
fn smaller(provider: Provider, part: &Part, side: u32) -> Option<(u32, u32)> {
    let Part::Media(media) = part else { return None };
    let size = media.size.filter(|_| media.media_type.starts_with("image/"))?;
    let within = scaled_size(size, side);
    (of_image(provider, within) < of_image(provider, size)).then_some(within)
}

fn scaled_to((width, height): (u32, u32), budget: usize) -> Part {
    Part::text(format!("[scaled to {width}×{height} pixels to fit the budget of {budget} tokens]"))
}

/// What the parts of an entry would take with its images in a box.
fn scaled_tokens(provider: Provider, entry: &Entry, side: Option<u32>, budget: usize) -> usize {
    let of = |part: &Part| match side.and_then(|side| smaller(provider, part, side)) {
        Some(size) => of_image(provider, size) + of_part(provider, &scaled_to(size, budget)),
        None => of_part(provider, part),
    };
    entry.parts.iter().map(of).sum()
}

fn scaled(provider: Provider, entry: &Entry, side: u32, budget: usize) -> Result<Vec<Part>> {
    let mut parts = Vec::with_capacity(entry.parts.len());
    for part in &entry.parts {
        match part {
            Part::Media(media) if smaller(provider, part, side).is_some() => {
                let scaled = scale_media(media, side)?;
                parts.push(scaled_to(scaled.size.unwrap_or_default(), budget));
                parts.push(Part::media(scaled));
            }
            _ => parts.push(part.clone()),
        }
    }
    Ok(parts)
}

/// Cuts the texts of an entry, the longest first and each once, by as much as is over.
fn cut(entry: &mut Entry, mut over: usize, budget: usize) {
    let mut texts: Vec<(usize, &mut Arc<str>)> = entry
        .parts
        .iter_mut()
        .filter_map(|part| if let Part::Text(text) = part { Some((estimate_tokens(text), text)) } else { None })
        .collect();
    texts.sort_by_key(|(tokens, _)| std::cmp::Reverse(*tokens));
    for (_, text) in texts {
        let Some(shorter) = shortened(text, &mut over, budget) else { return };
        *text = shorter;
    }
}

/// A text without as much of its end as is over, which becomes less by that. None where it is too short, or nothing is
/// over.
fn shortened(text: &str, over: &mut usize, budget: usize) -> Option<Arc<str>> {
    let told = |kept: usize, all: usize| {
        format!("\n[cut: the first {kept} of {all} characters, to fit the budget of {budget} tokens]")
    };
    let (tokens, all) = (estimate_tokens(text), text.chars().count());
    let note = estimate_tokens(&told(all, all)) + 1;
    if *over == 0 || tokens <= TEXT_TOKENS + note {
        return None;
    }
    let kept = prefix(text, tokens.saturating_sub(*over + note).max(TEXT_TOKENS));
    let shorter = format!("{kept}{}", told(kept.chars().count(), all));
    *over = over.saturating_sub(tokens.saturating_sub(estimate_tokens(&shorter)));
    Some(shorter.into())
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

/// Puts one notice in the place of user's items in a row, the least recent first, until nothing is over; gives what is
/// left over. Where no notice is shorter than what it stands for, nothing is changed.
fn merge(provider: Provider, entries: &mut Vec<Entry>, over: usize, budget: usize) -> usize {
    let (mut left, mut merged) = (over, Vec::<Entry>::with_capacity(entries.len()));
    // The first of the items that the last notice stands for, and how many they are.
    let mut run: Option<(RefId, usize)> = None;
    for entry in entries.iter() {
        if left == 0 || entry.is_system() {
            run = None;
            merged.push(entry.clone());
            continue;
        }
        let mut before = of_entry(provider, entry);
        let (first, count) = run.map_or((entry.ref_id, 1), |(first, count)| (first, count + 1));
        if count > 1 {
            before += merged.pop().map_or(0, |notice| of_entry(provider, &notice));
        }
        run = Some((first, count));
        let last = entry.ref_id;
        let told = format!("[{count} items left out to fit the budget of {budget} tokens: {first} to {last}]");
        let notice = Entry { lead: told.into(), parts: Vec::new(), ..entry.clone() };
        left = (left + of_entry(provider, &notice)).saturating_sub(before);
        merged.push(notice);
    }
    if left < over {
        *entries = merged;
        return left;
    }
    over
}
