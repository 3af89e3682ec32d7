//! Replays the corpus of the fuzzer, and some random bytes.

use std::fs;
use std::path::Path;

use cloister_fuzz::BODIES;
use cloister_testkit::random::Rng;

#[test]
fn nothing_in_the_corpus_panics() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, body) in BODIES {
        let directory = corpus.join(name);
        let files: Vec<_> = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|file| file.expect("it can be listed").path())
            .collect();
        assert!(!files.is_empty(), "{} is empty", directory.display());
        for file in &files {
            println!("{}", file.display());
            body(&fs::read(file).expect("it can be read"));
        }
    }
}

#[test]
fn bytes_of_every_length_panic_nowhere() {
    let mut rng = Rng::new(1);
    let mut random = || rng.next_u64().to_be_bytes()[0];
    for (_, body) in BODIES {
        for len in 0..200 {
            body(&(0..len).map(|_| random()).collect::<Vec<u8>>());
        }
    }
}
