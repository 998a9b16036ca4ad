//! What processes and their children use, out of `/proc`.

/// The given processes and all that descend from them.
pub fn tree(roots: &[u32]) -> Vec<u32> {
    if roots.is_empty() {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    if let Ok(d) = std::fs::read_dir("/proc") {
        for e in d.flatten() {
            let Some(pid) = e.file_name().to_str().and_then(|s| s.parse::<u32>().ok()) else { continue };
            if let Ok(t) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                if let Some(p) = t.rfind(')') {
                    if let Some(pp) = t[p + 2..].split(' ').nth(1).and_then(|x| x.parse::<u32>().ok()) {
                        pairs.push((pid, pp));
                    }
                }
            }
        }
    }
    let mut v: Vec<u32> = roots.to_vec();
    let mut i = 0;
    while i < v.len() {
        for (c, pp) in &pairs {
            if *pp == v[i] && !v.contains(c) {
                v.push(*c);
            }
        }
        i += 1;
    }
    v
}

pub fn cpu_ticks(pids: &[u32]) -> u64 {
    let mut sum = 0;
    for p in pids {
        if let Ok(t) = std::fs::read_to_string(format!("/proc/{p}/stat")) {
            if let Some(k) = t.rfind(')') {
                let f: Vec<&str> = t[k + 2..].split(' ').collect();
                sum += f.get(11).and_then(|x| x.parse::<u64>().ok()).unwrap_or(0);
                sum += f.get(12).and_then(|x| x.parse::<u64>().ok()).unwrap_or(0);
            }
        }
    }
    sum
}

pub fn rss_kb(pids: &[u32]) -> u64 {
    let mut sum = 0;
    for p in pids {
        if let Ok(t) = std::fs::read_to_string(format!("/proc/{p}/statm")) {
            sum += t.split(' ').nth(1).and_then(|x| x.parse::<u64>().ok()).unwrap_or(0) * 4;
        }
    }
    sum
}
