//! `fsa-bank predict`

use super::Context;
use super::args::PredictArgs;

#[cfg(not(feature = "onnx"))]
pub(super) fn run(_: &Context, _: &PredictArgs) -> anyhow::Result<()> {
    Err(super::error::CliError::without_onnx("predict").into())
}

#[cfg(feature = "onnx")]
pub(super) fn run(context: &Context, args: &PredictArgs) -> anyhow::Result<()> {
    use super::{model, print_json, print_text};
    use crate::atomic_file;
    use crate::backbone::onnx::OnnxOptions;
    use crate::dataset::dark_images;
    use crate::predict::{self, PredictError, PredictRequest};
    use crate::progress::Progress;
    use crate::report::{account_lines, predictions_csv, predictions_parquet, predictions_text};

    let model = model::open(context, &args.model, &args.given, false)?;
    model::tell_preprocessing(context, &model)?;
    let (images, account) = predict::images(&args.images)?;
    if !account.left_out.is_empty() {
        account_lines(&account, true).iter().for_each(|line| context.screen.line(line));
    }
    let options = OnnxOptions {
        device: args.device.clone(),
        threads: context.threads,
        side: model.description.input.image_size,
    };
    let (top, cam) = (args.top.get(), args.cam.as_deref());
    let request = PredictRequest { images: &images, top, cam, options: &options };
    let found = predict::run(&model, &request, context.watch())?;
    if let Some(file) = &args.parquet {
        atomic_file::write_named(file, &predictions_parquet(&found)?)?;
    }
    if context.json {
        print_json(&found)?;
    } else if args.csv {
        print_text(&predictions_csv(&found))?;
    } else if args.parquet.is_none() {
        print_text(&predictions_text(&found))?;
    }
    let failed: Vec<&String> = found.iter().filter_map(|image| image.error.as_ref()).collect();
    failed.iter().for_each(|error| context.screen.warning(error));
    let largest: Vec<u16> = found.iter().filter_map(|image| image.largest).collect();
    dark_images(&largest, found.len()).iter().for_each(|text| context.screen.warning(text));
    let (done, total) = (found.len(), images.len());
    if done < total {
        return Err(PredictError::Interrupted { done, total }.into());
    }
    match failed.len() {
        0 => Ok(()),
        failed => Err(PredictError::Undecodable { failed, total }.into()),
    }
}
