//! `fsa-bank predict`

use super::Context;
use super::args::PredictArgs;

#[cfg(not(feature = "onnx"))]
pub(super) fn run(_: &Context, _: &PredictArgs) -> anyhow::Result<()> {
    anyhow::bail!("predict: this build has no ONNX engine\n  Build with the cargo feature `onnx`.")
}

#[cfg(feature = "onnx")]
pub(super) fn run(context: &Context, args: &PredictArgs) -> anyhow::Result<()> {
    use super::{print_json, print_text};
    use crate::backbone::onnx::OnnxOptions;
    use crate::export::Model;
    use crate::predict::{self, PredictError};

    let mut model = Model::open(&args.model)?;
    if let Some(classifier) = &args.classifier {
        model.replace_head(classifier)?;
    }
    let images = predict::images(&args.images).map_err(PredictError::from)?;
    let options = OnnxOptions {
        device: args.device.clone(),
        threads: context.threads,
        side: model.description.image_size,
    };
    let (screen, interrupt) = (&context.screen, &context.interrupt);
    let found = predict::run(&model, &images, args.top.get(), &options, screen, interrupt)?;
    if context.json {
        return print_json(&found);
    }
    print_text(&if args.csv { text::csv(&found) } else { text::table(&found) });
    Ok(())
}

#[cfg(feature = "onnx")]
mod text {
    use crate::predict::{Guess, ImageClasses};

    /// A line a guess: `path,rank,class,name,probability`.
    pub(super) fn csv(found: &[ImageClasses]) -> String {
        let mut text = String::from("path,rank,class,name,probability\n");
        for image in found {
            for (rank, Guess { class, name, probability }) in image.top.iter().enumerate() {
                let path = quoted(&image.path.display().to_string());
                let (rank, name) = (rank + 1, quoted(name));
                text += &format!("{path},{rank},{class},{name},{probability}\n");
            }
        }
        text
    }

    /// A field of CSV (RFC 4180).
    fn quoted(field: &str) -> String {
        match field.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field.into(),
        }
    }

    /// A line an image: the path, then class and percent of each guess.
    pub(super) fn table(found: &[ImageClasses]) -> String {
        let path = |image: &ImageClasses| image.path.display().to_string();
        let width = found.iter().map(|i| path(i).chars().count()).max().unwrap_or(0);
        let guess = |g: &Guess| format!("{} {:.1} %", g.name, 100.0 * g.probability);
        let line = |image: &ImageClasses| {
            let guesses: Vec<String> = image.top.iter().map(guess).collect();
            format!("{:<width$}  {}\n", path(image), guesses.join(", "))
        };
        found.iter().map(line).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_with_commas_and_quotes_are_quoted() {
            let top = vec![Guess { class: 3, name: "a \"b\", c".into(), probability: 0.5 }];
            let found = [ImageClasses { path: "x.png".into(), top }];
            let lines = "path,rank,class,name,probability\nx.png,1,3,\"a \"\"b\"\", c\",0.5\n";
            assert_eq!(csv(&found), lines);
            assert_eq!(table(&found), "x.png  a \"b\", c 50.0 %\n");
        }
    }
}
