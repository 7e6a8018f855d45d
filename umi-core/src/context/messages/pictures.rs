//! Small pictures of the items, for notebooks.

use std::{collections::BTreeMap, sync::Arc};

use super::{MessageOptions, Plan, Provider};
use crate::{
    context::{
        collection::Snapshot,
        encode::{EncodeOptions, EncoderRegistry},
        items::{Item, ItemSource},
        kinds::Kind,
        parallel::in_parallel,
        part::{Media, Part},
        refs::RefId,
        render::html::{SHOWN_ITEMS, SHOWN_PICTURES, SHOWN_SIDES, html},
    },
    error::{Error, Result},
};

impl Snapshot {
    /// HTML for a notebook, of at most 200 items; the first 50 images among them are shown small, as `resize` of the
    /// registry encodes them. What is behind an address is not fetched.
    ///
    /// # Errors
    /// `InvalidInput` where the registry has no such encoder. An image that cannot be read says so in its row.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{Context, EncoderRegistry, NewItem};
    /// let context = Context::new();
    /// context.add(NewItem::text("<b>"))?;
    /// assert!(context.snapshot().html(&EncoderRegistry::default())?.contains("&lt;b&gt;"));
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn html(&self, registry: &EncoderRegistry) -> Result<String> {
        let options = MessageOptions::default()
            .with_encoder(Kind::Image, "resize")
            .with_encoder_options(Kind::Image, EncodeOptions::parse(&format!("{{\"max_width\":{SHOWN_SIDES}}}"))?);
        let plan = Plan::new(Provider::OpenAi, registry, options)?;
        let has_picture = |item: &&Item| item.kind() == Kind::Image && !matches!(item.source(), ItemSource::Url(_));
        let images: Vec<&Item> = self.iter().take(SHOWN_ITEMS).filter(has_picture).take(SHOWN_PICTURES).collect();
        let made = in_parallel(images.len(), |place| plan.picture(images[place]));
        let pictures: BTreeMap<RefId, _> = images.iter().map(|item| item.ref_id()).zip(made).collect();
        Ok(html(self, |item| pictures.get(&item.ref_id())))
    }
}

impl Plan<'_> {
    /// The picture that the encoder makes of an image.
    fn picture(&self, item: &Item) -> Result<Arc<Media>> {
        let parts = match self.kept(item) {
            Some(parts) => parts?,
            None => self.encode(item)?,
        };
        let picture = parts.into_iter().find_map(|part| match part {
            Part::Media(media) if media.media_type.starts_with("image/") => Some(media),
            _ => None,
        });
        picture.ok_or_else(|| Error::invalid_input("its encoder gave no image"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Context, NewItem, Url};

    #[test]
    fn images_are_shown_small_and_broken_ones_say_so() {
        let context = Context::sim(1);
        let mut png = Vec::new();
        image::RgbImage::new(400, 100).write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        context.add(NewItem::bytes(png, "image/png").unwrap()).unwrap();
        context.add(NewItem::bytes(b"<&>".to_vec(), "image/png").unwrap()).unwrap();
        context.add(NewItem::url(Url::new("https://a/b.png", None).unwrap())).unwrap();
        let shown = context.snapshot().html(&EncoderRegistry::default()).unwrap();
        assert_eq!(shown.matches("<img src=\"data:image/png;base64,").count(), 1, "{shown}");
        assert!(shown.contains("width=\"128\" height=\"32\""), "{shown}");
        assert!(shown.contains("<i>cannot be read as an image</i>"), "{shown}");
        assert!(shown.contains("https://a/b.png"), "{shown}");
    }
}
