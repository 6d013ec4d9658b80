//! What a Phase-II iteration cannot be faster than: `cargo bench --bench floor -- K C [ROWS]`.
//!
//! The two matrix products of an iteration (forward X · Wᵀ and gradient Dᵀ · X, f32, all threads), by
//! the fastest of the ways at hand, and the bytes that must move over the memory's bandwidth: weights
//! and momentum are read and written once an iteration where they are larger than the last cache.
//! Prints one line of JSON.

use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

const REPEATS: usize = 5;
/// Far beyond any cache.
const STREAM_FLOATS: usize = 1 << 26;

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (&[channels, classes] | &[channels, classes, _]) = &args[..] else {
        eprintln!("usage: cargo bench --bench floor -- K C [ROWS]");
        return;
    };
    let rows = args.get(2).copied().unwrap_or(128);
    let gemm_secs = gemm_secs(rows, channels, classes);
    let bandwidth = bandwidth();
    println!(
        "{{\"gemm_secs\":{gemm_secs:.6e},\"bytes_per_sec\":{bandwidth:.4e},\"gflops\":{:.1}}}",
        4e-9 * (rows * channels * classes) as f64 / gemm_secs
    );
}

fn gemm_secs(rows: usize, channels: usize, classes: usize) -> f64 {
    let fill = |n: usize| (0..n).map(|i| (i % 97) as f32 * 0.01).collect::<Vec<f32>>();
    let (x, w) = (fill(rows * channels), fill(classes * channels));
    let (mut d, mut g) = (vec![0.0f32; rows * classes], vec![0.0f32; classes * channels]);
    let threads = rayon::current_num_threads();
    let iterations = (2_000_000_000 / (rows * channels * classes)).clamp(3, 2000);
    // As one product each, or class by class in as many parts as fit a cache.
    let whole = |d: &mut [f32], g: &mut [f32]| {
        let par = if threads > 1 { Par::rayon(threads) } else { Par::Seq };
        product(&x, &w, d, g, (rows, channels, classes), par);
    };
    let parts = |size: usize| {
        let (x, w) = (&x, &w);
        move |d: &mut [f32], g: &mut [f32]| {
            d.par_chunks_mut(rows * size)
                .zip(g.par_chunks_mut(size * channels))
                .zip(w.par_chunks(size * channels))
                .for_each(|((d, g), w)| {
                    let of_part = w.len() / channels;
                    product(x, w, d, g, (rows, channels, of_part), Par::Seq);
                });
        }
    };
    let mut best = time(iterations, || whole(&mut d, &mut g));
    for size in [16, 32, 64, 128, 256, 512, 2048].into_iter().chain([classes.div_ceil(threads)]) {
        if size < classes {
            let run = parts(size);
            best = best.min(time(iterations, || run(&mut d, &mut g)));
        }
    }
    best
}

fn product(
    x: &[f32],
    w: &[f32],
    d: &mut [f32],
    g: &mut [f32],
    (rows, channels, classes): (usize, usize, usize),
    par: Par,
) {
    let x = MatRef::from_row_major_slice(x, rows, channels);
    let w = MatRef::from_row_major_slice(w, classes, channels);
    let mut d = MatMut::from_row_major_slice_mut(d, rows, classes);
    matmul(d.as_mut(), Accum::Replace, x, w.transpose(), 1.0, par);
    let g = MatMut::from_row_major_slice_mut(g, classes, channels);
    matmul(g, Accum::Replace, d.as_ref().transpose(), x, 1.0, par);
}

/// Seconds of one call: the best of some repetitions.
fn time(iterations: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut once = |_| {
        let begin = Instant::now();
        (0..iterations).for_each(|_| work());
        begin.elapsed().as_secs_f64() / iterations as f64
    };
    (0..REPEATS).map(&mut once).fold(f64::INFINITY, f64::min)
}

/// Bytes a second of a ← a + s b over large arrays: two reads and a write a value.
fn bandwidth() -> f64 {
    let mut a = vec![1.0f32; STREAM_FLOATS];
    let b = vec![2.0f32; STREAM_FLOATS];
    let size = STREAM_FLOATS.div_ceil(rayon::current_num_threads());
    let secs = time(1, || {
        a.par_chunks_mut(size).zip(b.par_chunks(size)).for_each(|(a, b)| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += 0.5 * b);
        });
    });
    3.0 * 4.0 * STREAM_FLOATS as f64 / secs
}
