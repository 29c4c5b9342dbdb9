//! Looking at pictures: how large they are before anything is decoded, and a small one made of each.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

/// The largest picture that is looked at.
pub const MAX_PICTURE_BYTES: u64 = 20 << 20;
/// The most pixels: 40 million, as a good camera makes.
const MAX_PIXELS: u64 = 40_000_000;
/// The longer side of the small picture.
const PREVIEW_SIDE: u32 = 320;
const PREVIEW_QUALITY: u8 = 80;
/// What decoding may take: four bytes for each pixel, and as much again for the way there.
const MAX_DECODING_BYTES: u64 = 2 * 4 * MAX_PIXELS;

/// What was found.
pub struct Picture {
    /// Width and height as it is to be shown.
    pub pixels: (u32, u32),
    /// A JPEG of at most 320 pixels on either side, upright, with nothing of the camera in it.
    pub preview: Vec<u8>,
}

/// Why a picture is none that can be shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    /// More pixels than are decoded.
    TooManyPixels,
    /// Not to be decoded.
    Broken,
}

/// Looks at a picture of this type. Blocks: up to a second of one core, and some hundred MiB for the largest.
pub fn look(bytes: &[u8], mime: &str) -> Result<Picture, Unfit> {
    let format = ImageFormat::from_mime_type(mime).ok_or(Unfit::Broken)?;
    let broken = |_| Unfit::Broken;
    // The header alone: what it claims decides before a byte is decoded.
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions().map_err(broken)?;
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Unfit::TooManyPixels);
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODING_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let orientation = decoder.orientation().map_err(broken)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    // First small, then upright: turning the large one would cost as much again.
    let is_large = width > PREVIEW_SIDE || height > PREVIEW_SIDE;
    let mut small = if is_large { picture.thumbnail(PREVIEW_SIDE, PREVIEW_SIDE) } else { picture };
    small.apply_orientation(orientation);
    let is_turned =
        matches!(orientation, Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH);
    let pixels = if is_turned { (height, width) } else { (width, height) };
    let mut preview = Vec::new();
    JpegEncoder::new_with_quality(&mut preview, PREVIEW_QUALITY).encode_image(&on_white(&small)).map_err(broken)?;
    Ok(Picture { pixels, preview })
}

/// A JPEG knows nothing of what shines through.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let picture = picture.to_rgba8();
    let mix = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u16::from(colour), u16::from(alpha));
        u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
    };
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0;
        image::Rgb([mix(r, a), mix(g, a), mix(b, a)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of nothing but a header that claims this size.
    fn claimed(width: u32, height: u32) -> Vec<u8> {
        let mut header = b"IHDR".to_vec();
        header.extend(width.to_be_bytes());
        header.extend(height.to_be_bytes());
        header.extend([8, 6, 0, 0, 0]);
        let mut crc = u32::MAX;
        for byte in &header {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        [&b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..], &header, &(!crc).to_be_bytes(), b"\0\0\0\0IDAT\x35\xaf\x06\x1e"].concat()
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_before_anything_is_decoded() {
        assert_eq!(look(&claimed(50_000, 50_000), "image/png").err(), Some(Unfit::TooManyPixels));
        assert_eq!(look(&claimed(100, 100), "image/png").err(), Some(Unfit::Broken), "nothing behind the header");
        assert_eq!(look(b"<svg onload=alert(1)>", "image/png").err(), Some(Unfit::Broken));
        assert!(look(&claimed(0, 10), "image/png").is_err());
    }

    #[test]
    fn a_preview_is_small_and_what_shines_through_is_white() {
        let mut picture = image::RgbaImage::new(800, 400);
        picture.put_pixel(0, 0, image::Rgba([255, 0, 0, 255]));
        let mut png = Vec::new();
        picture.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).expect("written");
        let found = look(&png, "image/png").expect("a picture");
        assert_eq!(found.pixels, (800, 400));
        let preview = image::load_from_memory_with_format(&found.preview, ImageFormat::Jpeg).expect("a JPEG");
        assert_eq!((preview.width(), preview.height()), (320, 160));
        assert!(preview.to_rgb8().get_pixel(200, 100).0.iter().all(|c| *c > 250));
    }
}
