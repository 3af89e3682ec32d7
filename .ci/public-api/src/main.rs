//! Lists the public items in files of rustdoc's JSON, without what the compiler implements by itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    for file in std::env::args().skip(1) {
        let list = public_api::Builder::from_rustdoc_json(&file)
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(true)
            .build();
        match list {
            Ok(list) => print!("{list}"),
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
