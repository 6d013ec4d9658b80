//! `fsa-bank export`

use serde_json::json;

use super::args::ExportArgs;
use super::{Context, model, print_json, print_text};

pub(super) fn run(context: &Context, args: &ExportArgs) -> anyhow::Result<()> {
    let model = model::open(context, &args.model, &args.given, true)?;
    model::tell_preprocessing(context, &model)?;
    if let Some(path) = &args.onnx {
        model.save_onnx(path)?;
    }
    if let Some(path) = &args.safetensors {
        model.save_safetensors(path)?;
    }
    if let Some(path) = &args.head {
        model.save_head(path)?;
    }
    let written: Vec<_> =
        [&args.onnx, &args.safetensors, &args.head].into_iter().flatten().collect();
    let (classes, channels) = (model.head.classes(), model.head.channels());
    if context.json {
        let what = json!({ "written": written, "classes": classes, "channels": channels });
        return print_json(&what);
    }
    for path in written {
        let path = path.display();
        print_text(&format!("{path}: {classes} classes, {channels} channels\n"))?;
    }
    Ok(())
}
