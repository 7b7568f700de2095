//! What is drawn over and how it goes back, for random requests.
use super::*;

/// Numbers that look random, the same each time (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % u64::from(limit)) as u32
    }

    fn picture(&mut self, (width, height): (u32, u32), transparent: bool) -> Bitmap {
        let mut bytes = |number: u32| (0..number).map(|_| self.below(256) as u8).collect::<Vec<u8>>();
        let rgb = bytes(width * height * 3);
        Bitmap { width, height, rgb, alpha: transparent.then(|| bytes(width * height)) }
    }

    /// A black picture with a white rectangle.
    fn rectangle(&mut self, (width, height): (u32, u32)) -> Bitmap {
        let (x, y) = (self.below(width), self.below(height));
        let (right, bottom) = (x + 1 + self.below(width - x), y + 1 + self.below(height - y));
        let inside = |at: u32| (x..right).contains(&(at % width)) && (y..bottom).contains(&(at / width));
        let values = (0..width * height).flat_map(|at| [if inside(at) { 255 } else { 0 }; 3]);
        Bitmap::opaque(width, height, values.collect())
    }
}

fn request(dice: &mut Dice) -> Request {
    let size = (8 + dice.below(60), 8 + dice.below(60));
    let transparent = dice.below(3) == 0;
    let image = dice.picture(size, transparent);
    let mask = dice.rectangle(size);
    let only_masked = dice.below(2) == 0;
    let length = |dice: &mut Dice| 8 + dice.below(40);
    let extend = (dice.below(4) == 0).then(|| Extend {
        left: dice.below(9),
        top: dice.below(9),
        right: dice.below(9),
        bottom: 1 + dice.below(9),
    });
    let mut request = Request {
        init_image: Some(image.into()),
        mask: Some(mask.into()),
        mask_blur: f64::from(dice.below(4)),
        mask_padding: dice.below(20),
        only_masked,
        extend,
        inpaint_fill: [None, Some("fill".into())][dice.below(2) as usize].clone(),
        ..Request::default()
    };
    let usual = usual_size(&request, request.init_image.as_ref().unwrap().bitmap().unwrap(), (32, 24));
    (request.width, request.height) = (Some(usual.0), Some(usual.1));
    if only_masked {
        (request.width, request.height) = (Some(length(dice)), Some(length(dice)));
    }
    request
}

#[test]
fn outside_the_mask_nothing_changes_and_inside_it_is_what_was_drawn() {
    let mut dice = Dice(1);
    for number in 0..300 {
        let request = request(&mut dice);
        let canvas = Canvas::of(&request, 8).unwrap().unwrap();
        let (width, height) = canvas.image.size();
        assert!(width % 8 == 0 && height % 8 == 0 && width < request.width.unwrap() + 8, "{number}");
        let mask = canvas.mask.as_ref().unwrap();
        assert_eq!((mask.width, mask.height), (width, height));
        let drawn = Bitmap::opaque(width, height, [1, 2, 3].repeat((width * height) as usize));
        let after = canvas.finish(&drawn);
        let image = request.init_image.as_ref().unwrap().bitmap().unwrap();
        let Extend { left, top, right, bottom } = request.extend.unwrap_or_default();
        assert_eq!(after.size(), (image.width + left + right, image.height + top + bottom), "{number}");
        let mut kept = 0;
        for (at, share) in canvas.replaced.as_ref().unwrap().values.iter().enumerate() {
            let pixel = &after.rgb[at * 3..at * 3 + 3];
            let (x, y) = (at as u32 % after.width, at as u32 / after.width);
            let inside = (left..left + image.width).contains(&x) && (top..top + image.height).contains(&y);
            match share {
                share if !inside => assert_eq!((*share, pixel), (255, &[1, 2, 3][..]), "{number}: a margin"),
                0 => {
                    let from = ((y - top) * image.width + x - left) as usize;
                    assert_eq!(pixel, &image.rgb[from * 3..from * 3 + 3], "{number}");
                    assert_eq!(after.alpha.as_ref().map(|a| a[at]), image.alpha.as_ref().map(|a| a[from]), "{number}");
                    kept += 1;
                }
                255 => assert_eq!(pixel, [1, 2, 3], "{number}"),
                _ => {}
            }
        }
        assert!(kept > 0 || request.mask_blur > 0.0 || mask.values.iter().all(|value| *value > 0), "{number}");
    }
}

#[test]
fn without_a_mask_all_is_drawn_at_the_size_asked_for() {
    let image = Dice(2).picture((30, 21), false);
    for (width, height, mode) in
        [(30, 21, None), (64, 40, Some("stretch")), (9, 50, Some("fill")), (17, 8, Some("crop"))]
    {
        let request = Request {
            init_image: Some(image.clone().into()),
            width: Some(width),
            height: Some(height),
            resize_mode: mode.map(Into::into),
            ..Request::default()
        };
        let canvas = Canvas::of(&request, 8).unwrap().unwrap();
        assert_eq!(canvas.image.size(), (width.next_multiple_of(8), height.next_multiple_of(8)));
        let drawn = Bitmap::opaque(canvas.image.width, canvas.image.height, vec![9; canvas.image.rgb.len()]);
        assert_eq!(canvas.finish(&drawn), Bitmap::opaque(width, height, vec![9; (width * height * 3) as usize]));
    }
}

#[test]
fn transparency_is_a_mask_or_stays() {
    let mut image = Bitmap::opaque(8, 8, vec![40; 192]);
    image.alpha = Some([[0; 32], [255; 32]].concat());
    let base = Request { init_image: Some(image.into()), mask_blur: 0.0, ..Request::default() };
    let drawn = Bitmap::opaque(8, 8, vec![90; 192]);
    let plain = Canvas::of(&base, 8).unwrap().unwrap();
    assert_eq!((plain.image.rgb[0], plain.image.rgb[191]), (255, 40)); // on white
    assert_eq!(plain.finish(&drawn).alpha, Some([[0; 32], [255; 32]].concat()));
    let erased = Canvas::of(&Request { mask: Some(ImageSource::Alpha), ..base }, 8).unwrap().unwrap();
    let after = erased.finish(&drawn);
    assert_eq!((after.rgb[0], after.rgb[191], after.alpha), (90, 40, None));
}

#[test]
fn what_cannot_be_drawn_over_is_named() {
    let of = |size: (u32, u32), mask: Option<ImageSource>| {
        let image = Bitmap::opaque(size.0, size.1, vec![0; (size.0 * size.1 * 3) as usize]);
        Canvas::of(&Request { init_image: Some(image.into()), mask, ..Request::default() }, 8).unwrap_err().to_string()
    };
    assert_eq!(of((1, 400), None), "the picture to draw over has 1x400 pixels");
    let black = Bitmap::opaque(9, 9, vec![0; 243]);
    assert_eq!(of((9, 9), Some(black.into())), "nothing in the mask is white, so there is nothing to draw");
    assert_eq!(of((8, 257), None), "the picture to draw over has 8x257 pixels");
    assert_eq!(of((9, 9), Some(ImageSource::Alpha)), "no part of the picture is transparent");
}

#[test]
fn hidden_colours_never_show() {
    let mut image = Bitmap::opaque(24, 16, [40, 80, 120].repeat(24 * 16));
    let erased = |x: usize| (8..16).contains(&x);
    image.alpha = Some((0..24 * 16).map(|at| if erased(at % 24) { 0 } else { 255 }).collect());
    for (at, pixel) in image.rgb.chunks_exact_mut(3).enumerate().filter(|(at, _)| erased(at % 24)) {
        pixel.copy_from_slice(&[255, (at % 7) as u8, 0]);
    }
    let alpha = Some(ImageSource::Alpha);
    let request = Request { init_image: Some(image.into()), mask: alpha, mask_blur: 4.0, ..Request::default() };
    let canvas = Canvas::of(&request, 8).unwrap().unwrap();
    assert_eq!(canvas.image, Bitmap::opaque(24, 16, [40, 80, 120].repeat(24 * 16)));
    assert_eq!(canvas.finish(&canvas.image), canvas.image);
}

#[test]
fn margins_fall_off_into_the_picture_and_no_further() {
    let image = Bitmap::opaque(80, 64, [40, 80, 120].repeat(80 * 64));
    let extend = Some(Extend { left: 16, ..Extend::default() });
    let request = Request { init_image: Some(image.into()), extend, mask_blur: 3.0, ..Request::default() };
    let canvas = Canvas::of(&request, 8).unwrap().unwrap();
    let row = &canvas.mask.as_ref().unwrap().values[30 * 96..31 * 96];
    assert!(row[..16].iter().all(|value| *value == 255) && row[28..].iter().all(|value| *value == 0), "{row:?}");
    assert!(row[16..28].is_sorted_by(|a, b| a > b) && row[16] > 248 && row[27] > 0, "{row:?}");
    assert_eq!(canvas.image.rgb, [40, 80, 120].repeat(96 * 64));
    let sharp = Canvas::of(&Request { mask_blur: 0.0, ..request }, 8).unwrap().unwrap();
    assert_eq!(sharp.mask.unwrap().values, [[255; 16].as_slice(), &[0; 80]].concat().repeat(64));
}

#[test]
fn masks_in_other_sizes_have_no_grey_but_at_their_edge() {
    let mut dice = Dice(5);
    for _ in 0..50 {
        let size = (16 + dice.below(60), 16 + dice.below(60));
        let (image, mask) = (dice.picture(size, false), dice.rectangle(size));
        let request = Request {
            init_image: Some(image.into()),
            mask: Some(mask.clone().into()),
            mask_blur: 0.0,
            width: Some(size.0 * 2),
            height: Some(size.1 * 2),
            ..Request::default()
        };
        let canvas = Canvas::of(&request, 8).unwrap().unwrap();
        let grey = canvas.replaced.unwrap().values.iter().filter(|value| !matches!(value, 0 | 255)).count();
        let [left, top, right, bottom] = Mask::of(&mask, size).unwrap().bounds().unwrap();
        let edge = (4 * (right - left + bottom - top)) as usize; // pixels, of which there are one inside and one outside
        assert!(grey <= 2 * edge + 16, "{grey} along {edge}");
    }
}

#[test]
fn a_mask_that_is_blurred_away_is_named() {
    let mut spot = Bitmap::opaque(40, 40, vec![0; 4800]);
    spot.rgb[2460..2463].fill(255);
    let of = |mask_blur: f64| {
        let (image, mask) = (Bitmap::opaque(40, 40, vec![0; 4800]), spot.clone());
        let request =
            Request { init_image: Some(image.into()), mask: Some(mask.into()), mask_blur, ..Request::default() };
        Canvas::of(&request, 8).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(of(1.0), Ok(()));
    assert_eq!(of(30.0), Err("nothing of the mask is left after it was softened and cut".into()));
}

#[test]
fn a_fill_without_surroundings_is_refused() {
    let (image, mask) = (Bitmap::opaque(9, 9, vec![0; 243]), Bitmap::opaque(9, 9, vec![255; 243]));
    let mut request = Request { init_image: Some(image.into()), mask: Some(mask.into()), ..Request::default() };
    assert!(Canvas::of(&request, 8).is_ok());
    request.inpaint_fill = Some("fill".into());
    assert!(Canvas::of(&request, 8).unwrap_err().hint().unwrap().contains("--inpaint-fill noise"));
}
