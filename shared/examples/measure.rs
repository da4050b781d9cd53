#![allow(warnings)]
use flate2::{Compress, Compression, FlushCompress};
use shared::compression::*;
use std::{hint::black_box, time::Instant};
use zstd_safe::{zstd_sys::ZSTD_EndDirective, CCtx, CParameter, InBuffer, OutBuffer};

fn rnd(s: &mut u64) -> u64 { *s ^= *s << 13; *s ^= *s >> 7; *s ^= *s << 17; *s }
fn id(s: &mut u64) -> u64 { 1_100_000_000_000_000_000 + (rnd(s) >> 8) }
const WORDS: [&str; 24] = ["the","server","is","down","again","who","wants","to","play","tonight","I","think","that","this","bot","works","fine","now","please","look","at","my","new","picture"];
fn text(s: &mut u64, n: usize) -> String { (0..n).map(|_| WORDS[(rnd(s) % 24) as usize]).collect::<Vec<_>>().join(" ") }
fn small(s: &mut u64) -> String {
    format!(r#","op":0,"d":{{"user_id":"{}","timestamp":{},"member":{{"user":{{"username":"{}"}}}},"channel_id":"{}","guild_id":"{}"}}}}"#,
        id(s), 1_750_000_000 + rnd(s) % 1000000, text(s, 1), id(s), id(s))
}
fn large(s: &mut u64) -> String {
    let n = 20 + (rnd(s) % 20) as usize;
    let user = |s: &mut u64| format!(r#"{{"username":"{}","public_flags":0,"primary_guild":null,"id":"{}","global_name":"{}","display_name_styles":null,"discriminator":"0","collectibles":null,"clan":null,"avatar_decoration_data":null,"avatar":"{:016x}{:016x}"}}"#, text(s,1), id(s), text(s,2), rnd(s), rnd(s));
    let (u1, u2, u3) = (user(s), user(s), user(s));
    format!(r#","op":0,"d":{{"type":0,"tts":false,"timestamp":"2025-07-01T12:{:02}:{:02}.{:06}+00:00","pinned":false,"nonce":"{}","mentions":[{u2},{u3}],"mention_roles":[],"mention_everyone":false,"member":{{"roles":["{}","{}","{}"],"premium_since":null,"pending":false,"nick":null,"mute":false,"joined_at":"2021-03-0{}T1{}:20:54.{:06}+00:00","flags":0,"deaf":false,"communication_disabled_until":null,"banner":null,"avatar":null}},"id":"{}","flags":0,"embeds":[],"edited_timestamp":null,"content":"{}","components":[],"channel_type":0,"channel_id":"{}","author":{u1},"attachments":[],"guild_id":"{}"}}}}"#,
      rnd(s)%60, rnd(s)%60, rnd(s)%1000000, id(s), id(s), id(s), id(s), 1+rnd(s)%9, rnd(s)%10, rnd(s)%1000000, id(s), text(s, n), id(s), id(s))
}
fn time(n: usize, mut f: impl FnMut(usize)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 { let t = Instant::now(); for i in 0..n { f(i) } best = best.min(t.elapsed().as_secs_f64() / n as f64 * 1e9); }
    best
}
fn main() {
    let mut s = 0x1234_5678_9abc_def1;
    for (name, make, head) in [("200 B", small as fn(&mut u64) -> String, r#"{"t":"TYPING_START","s":"#), ("2 KB", large, r#"{"t":"MESSAGE_CREATE","s":"#)] {
        let texts: Vec<String> = (0..2000).map(|_| make(&mut s)).collect();
        let plain: usize = texts.iter().map(|t| t.len() + head.len() + 5).sum();
        println!("== {name}: average message {} B", plain / texts.len());
        for format in [Format::Deflate, Format::Zstd] {
            let ns = time(texts.len(), |i| { black_box(format.segment(texts[i].as_bytes())); });
            println!("segment {format:?}: {ns:.0} ns");
        }
        for level in [1, 2, 3, 4, 5, 6, 9, 12, 19] {
            let mut c = CCtx::create();
            c.set_parameter(CParameter::CompressionLevel(level)).unwrap();
            c.set_parameter(CParameter::WindowLog(16)).unwrap();
            let mut out = Vec::with_capacity(1 << 17);
            let mut size = 0;
            let ns = time(texts.len(), |i| { c.compress2(&mut out, texts[i].as_bytes()).unwrap(); size += out.len() });
            println!("zstd level {level}: {ns:.0} ns, {} B, context {} KiB", size / 5 / texts.len(), c.sizeof() / 1024);
        }
        for level in [1, 6, 9] {
            let mut c = Compress::new(Compression::new(level), false);
            let mut out = Vec::with_capacity(1 << 17);
            let mut size = 0;
            let ns = time(texts.len(), |i| { c.reset(); out.clear(); c.compress_vec(texts[i].as_bytes(), &mut out, FlushCompress::Sync).unwrap(); size += out.len() });
            println!("deflate level {level}: {ns:.0} ns, {} B", size / 5 / texts.len());
        }
        for method in [Method::ZlibPacket, Method::ZlibStream, Method::ZstdStream] {
            let segments: Vec<_> = texts.iter().map(|t| method.format().segment(t.as_bytes())).collect();
            let mut stream = Stream::new(method);
            let mut wire = Vec::with_capacity(1 << 16);
            let mut bytes = 0;
            let mut own = Vec::new();
            let ns = time(texts.len(), |i| {
                use std::io::Write;
                wire.clear();
                own.clear();
                own.extend_from_slice(head.as_bytes());
                write!(own, "{}", 10_000 + i).unwrap();
                let mut m = stream.message(&mut wire);
                m.own(&own); m.shared(&segments[i]); m.end();
                bytes += black_box(&wire).len();
            });
            println!("splice {method:?}: {ns:.0} ns, {} B a message", bytes / 5 / texts.len());
        }
        // a context a session
        for sessions in [1, 1000] {
            {
                let mut all: Vec<_> = (0..sessions).map(|_| Compress::new(Compression::new(6), true)).collect();
                let mut out = Vec::with_capacity(1 << 17);
                let (mut bytes, mut n) = (0, 0usize);
                let rounds = if sessions == 1 { texts.len() } else { 20 };
                let t = Instant::now();
                for i in 0..rounds { for c in &mut all { let m = format!("{head}{}{}", 10_000 + i, texts[i]); out.clear(); c.compress_vec(m.as_bytes(), &mut out, FlushCompress::Sync).unwrap(); bytes += out.len(); n += 1; } }
                println!("own zlib context, {sessions} sessions: {:.0} ns, {} B a message", t.elapsed().as_secs_f64() / n as f64 * 1e9, bytes / n);
            }
            for (level, window) in [(1, 14), (1, 16), (3, 14), (3, 16), (3, 17), (3, 0)] {
                let mut all: Vec<_> = (0..sessions).map(|_| {
                    let mut c = CCtx::create();
                    c.set_parameter(CParameter::CompressionLevel(level)).unwrap();
                    if window > 0 { c.set_parameter(CParameter::WindowLog(window)).unwrap(); }
                    c
                }).collect();
                let mut out = Vec::with_capacity(1 << 17);
                let (mut bytes, mut n) = (0, 0usize);
                let rounds = if sessions == 1 { texts.len() } else { 20 };
                let t = Instant::now();
                for i in 0..rounds { for c in &mut all {
                    let m = format!("{head}{}{}", 10_000 + i, texts[i]);
                    out.clear();
                    let mut input = InBuffer::around(m.as_bytes());
                    let mut output = OutBuffer::around(&mut out);
                    let left = c.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_flush).unwrap();
                    assert_eq!(left, 0);
                    bytes += output.pos(); n += 1;
                } }
                println!("own zstd context level {level} window 2^{window}, {sessions} sessions: {:.0} ns, {} B a message, {} KiB", t.elapsed().as_secs_f64() / n as f64 * 1e9, bytes / n, all[0].sizeof() / 1024);
            }
        }
    }
}
