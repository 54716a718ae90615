//! A model's files, read in form: what it is, and whether it could be loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::adapter::{self, Shapes, fitting, gguf_name};
use super::{Entry, Task, gguf, hash, refuse, safetensors, short};

/// Files beside the weights that decide what a model says.
const BESIDE: [&str; 11] = [
    "config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "generation_config.json", "chat_template.jinja",
    "sentence_bert_config.json", "config_sentence_transformers.json", "modules.json", "1_Pooling/config.json",
];

/// A model that could be read in form.
pub(crate) struct Inspected {
    /// What it is called in its files, or its folder's name.
    pub(crate) name: String,
    /// It.
    pub(crate) entry: Entry,
}

/// What the headers say.
struct About {
    name: Option<String>,
    task: Task,
    architecture: String,
    context_tokens: Option<u64>,
    parameters: u64,
    template: Option<String>,
    licence: Option<String>,
    shapes: Shapes,
    /// Files that hold the weights, in the order in which they are hashed.
    weights: Vec<PathBuf>,
    /// The folder that file names start at.
    folder: PathBuf,
}

/// Reads a model and an adapter over it.
///
/// # Errors
/// [`crate::exit::Exit::Unusable`] with the file and what is wrong with it.
pub(crate) fn inspect(path: &Path, adapter: Option<&Path>) -> anyhow::Result<Inspected> {
    let path = &path.canonicalize().map_err(|error| refuse(path, error))?;
    let about = match gguf_of(path)? {
        Some(file) => of_gguf(&file)?,
        None => of_folder(path)?,
    };
    let adapter = match adapter {
        None => None,
        Some(folder) => {
            let folder = folder.canonicalize().map_err(|error| refuse(folder, error))?;
            if about.task != Task::Chat {
                return Err(refuse(&folder, "an adapter is for a chat model"));
            }
            Some(fitting(&folder, &about.shapes)?)
        }
    };
    finish(path, about, adapter)
}

/// Numbers that a model consists of, by its headers alone; nothing if they cannot be read.
pub(crate) fn parameters(path: &Path) -> Option<u64> {
    let about = match gguf_of(path).ok()? {
        Some(file) => of_gguf(&file).ok()?,
        None => of_folder(path).ok()?,
    };
    Some(about.parameters)
}

/// The GGUF file that a path is or holds.
fn gguf_of(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    let named = |path: &Path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    if path.is_file() {
        if named(path) {
            return Ok(Some(path.to_path_buf()));
        }
        return Err(refuse(path, "a model is a GGUF file, a folder with one, or a folder with safetensors"));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| refuse(path, error))? {
        let file = entry.map_err(|error| refuse(path, error))?.path();
        if named(&file) {
            found.push(file);
        }
    }
    found.sort();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => Err(refuse(path, format!("there are {} GGUF files; name one of them", several.len()))),
    }
}

fn of_gguf(file: &Path) -> anyhow::Result<About> {
    let header = gguf::header(file)?;
    let text = |key: &str| header.texts.get(key).cloned();
    let architecture = text("general.architecture").ok_or_else(|| refuse(file, "its header does not say an architecture"))?;
    let folder = file.parent().unwrap_or(Path::new("/")).to_path_buf();
    if !header.lists.contains_key("tokenizer.ggml.tokens") && !folder.join("tokenizer.json").is_file() {
        return Err(refuse(file, "it has no tokenizer; put a tokenizer.json beside it"));
    }
    let mut shapes = Shapes::new();
    for layer in 0..header.numbers.get(&format!("{architecture}.block_count")).copied().unwrap_or(0) {
        for part in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] {
            let name = format!("model.layers.{layer}.{part}");
            let sides = gguf_name(&name).and_then(|held| header.tensors.get(&format!("{held}.weight")));
            if let Some(&[inputs, outputs]) = sides.map(Vec::as_slice) {
                shapes.insert(name, (inputs, outputs));
            }
        }
    }
    let parameters = header.tensors.values().map(|sides| sides.iter().product::<u64>()).sum();
    Ok(About {
        name: file.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
        task: Task::Chat,
        context_tokens: header.numbers.get(&format!("{architecture}.context_length")).copied(),
        architecture,
        parameters,
        template: text("tokenizer.chat_template"),
        licence: text("general.license"),
        shapes,
        weights: vec![file.to_path_buf()],
        folder,
    })
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|error| refuse(path, error))?;
    serde_json::from_str(&text).map_err(|error| refuse(path, error))
}

/// The weights of a folder, as they are loaded: `model.safetensors`, or its parts in order.
fn parts(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| refuse(folder, error))? {
        let path = entry.map_err(|error| refuse(folder, error))?.path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            parts.push(path);
        }
    }
    parts.sort();
    if parts.is_empty() { Err(refuse(folder, "there is neither a GGUF file nor a safetensors file in it")) } else { Ok(parts) }
}

fn of_folder(folder: &Path) -> anyhow::Result<About> {
    let weights = parts(folder)?;
    let config_path = folder.join("config.json");
    let config = json(&config_path)?;
    let architecture = config["model_type"].as_str().ok_or_else(|| refuse(&config_path, "it says no model_type"))?.to_owned();
    let tokenizer = folder.join("tokenizer.json");
    if !json(&tokenizer)?["model"].is_object() {
        return Err(refuse(&tokenizer, "it is no tokenizer: it has no model"));
    }
    let (mut parameters, mut shapes) = (0_u64, Shapes::new());
    for part in &weights {
        for (name, tensor) in safetensors::header(part)? {
            parameters += tensor.count().unwrap_or(0);
            if let (Some(matrix), &[outputs, inputs]) = (name.strip_suffix(".weight"), tensor.shape.as_slice()) {
                shapes.insert(matrix.to_owned(), (inputs, outputs));
            }
        }
    }
    if let Some(expected) = layers(&config, &shapes) {
        return Err(refuse(folder, expected));
    }
    let task = if architecture == "bert" { Task::Embedding } else { Task::Chat };
    let template = std::fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let template = template.or_else(|| Some(json(&folder.join("tokenizer_config.json")).ok()?["chat_template"].as_str()?.to_owned()));
    let own_limit = json(&folder.join("sentence_bert_config.json")).ok().and_then(|limits| limits["max_seq_length"].as_u64());
    Ok(About {
        name: folder.file_name().map(|name| name.to_string_lossy().into_owned()),
        task,
        architecture,
        context_tokens: own_limit.or_else(|| config["max_position_embeddings"].as_u64()),
        parameters,
        template,
        licence: licence(folder),
        shapes,
        weights,
        folder: folder.to_path_buf(),
    })
}

/// What is missing of the layers that the configuration counts; nothing if all are there.
fn layers(config: &Value, shapes: &Shapes) -> Option<String> {
    let count = config["num_hidden_layers"].as_u64()?;
    let there = (0..count).filter(|layer| shapes.keys().any(|name| name.contains(&format!(".{layer}.")))).count() as u64;
    (there != count).then(|| format!("config.json counts {count} layers, but the weights have {there} of them: a part is missing"))
}

/// The licence that a model card names, in the lines between dashes at its beginning.
fn licence(folder: &Path) -> Option<String> {
    let card = std::fs::read_to_string(folder.join("README.md")).ok()?;
    let mut lines = card.lines();
    if lines.next()?.trim() != "---" {
        return None;
    }
    let line = lines.take_while(|line| line.trim() != "---").find_map(|line| line.strip_prefix("license:"))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
}

/// Hashes the files.
fn finish(path: &Path, about: About, adapter: Option<super::Adapter>) -> anyhow::Result<Inspected> {
    let mut files = BTreeMap::new();
    let mut listed: Vec<PathBuf> = about.weights.clone();
    listed.extend(BESIDE.iter().map(|name| about.folder.join(name)).filter(|file| file.is_file()));
    if about.weights.first().is_some_and(|file| file.extension().is_some_and(|ending| ending == "gguf")) {
        // Of what lies beside a GGUF file only the tokenizer is read.
        listed.retain(|file| about.weights.contains(file) || file.file_name().is_some_and(|name| name == "tokenizer.json"));
    }
    for file in &listed {
        let name = file.strip_prefix(&about.folder).unwrap_or(file).to_string_lossy().into_owned();
        files.insert(name, hash(file)?.to_hex().to_string());
    }
    let mut whole = blake3::Hasher::new();
    for file in &about.weights {
        std::fs::File::open(file).and_then(|opened| whole.update_reader(opened).map(drop)).map_err(|error| refuse(file, error))?;
    }
    let base = whole.finalize();
    let (weights, adapter) = match adapter {
        None => (short(&base), None),
        Some(mut adapter) => {
            for name in adapter::FILES {
                adapter.files.insert(name.to_owned(), hash(&adapter.path.join(name))?.to_hex().to_string());
            }
            (with_adapter(&base, &adapter.path)?, Some(adapter))
        }
    };
    let name = about.name.unwrap_or_else(|| about.architecture.clone());
    let name = if adapter.is_some() { format!("{name}-adapted") } else { name };
    let entry = Entry {
        path: path.to_path_buf(),
        task: about.task,
        weights,
        architecture: about.architecture,
        context_tokens: about.context_tokens,
        parameters: about.parameters,
        chat_template: about.template.map(|text| short(&blake3::hash(text.as_bytes()))),
        licence: about.licence,
        files,
        adapter,
    };
    Ok(Inspected { name, entry })
}

/// What stands for the weights of a base with an adapter: first 16 hex digits of the BLAKE3 hash over the base's hash (32 bytes) and the bytes of
/// the adapter's two files, so that answers of the two are never taken for each other's.
pub(super) fn with_adapter(base: &blake3::Hash, folder: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(base.as_bytes());
    for name in adapter::FILES {
        let path = folder.join(name);
        std::fs::File::open(&path).and_then(|file| hasher.update_reader(file).map(drop)).map_err(|error| refuse(&path, error))?;
    }
    Ok(short(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::super::safetensors::tests::file;
    use super::*;

    const MATRIX: &str = "model.layers.0.self_attn.q_proj";

    /// A folder with a model of one layer.
    fn model(folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder");
        let put = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("a file");
        put("model.safetensors", &file(&[("model.embed_tokens.weight", &[10, 8]), (&format!("{MATRIX}.weight"), &[6, 8])]));
        put("config.json", br#"{"model_type": "mistral", "num_hidden_layers": 1, "max_position_embeddings": 64}"#);
        put("tokenizer.json", br#"{"model": {"type": "BPE"}}"#);
        put("tokenizer_config.json", br#"{"chat_template": "{{ messages }}"}"#);
        put("README.md", b"---\ntags: [x]\nlicense: \"apache-2.0\"\n---\n# A model\n");
    }

    fn adapter(folder: &Path, config: &str, tensors: &[(&str, &[u64])]) {
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(folder.join("adapter_config.json"), config).expect("a file");
        std::fs::write(folder.join("adapter_model.safetensors"), file(tensors)).expect("a file");
    }

    fn pair(a: [u64; 2], b: [u64; 2]) -> Vec<(String, Vec<u64>)> {
        vec![(format!("base_model.model.{MATRIX}.lora_A.weight"), a.to_vec()), (format!("base_model.model.{MATRIX}.lora_B.weight"), b.to_vec())]
    }

    #[test]
    fn reads_what_a_folder_says_of_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiny");
        model(&path);
        let Inspected { name, entry } = inspect(&path, None).expect("sound");
        assert_eq!((name.as_str(), entry.task, entry.architecture.as_str()), ("tiny", Task::Chat, "mistral"));
        assert_eq!((entry.context_tokens, entry.parameters, entry.licence.as_deref()), (Some(64), 80 + 48, Some("apache-2.0")));
        let weights = std::fs::read(path.join("model.safetensors")).expect("a file");
        assert_eq!(entry.weights, short(&blake3::hash(&weights)));
        assert_eq!(entry.chat_template, Some(short(&blake3::hash(b"{{ messages }}"))));
        assert_eq!(entry.files.len(), 4, "{:?}", entry.files);
    }

    #[test]
    fn an_adapter_must_fit_its_base_and_changes_the_weights() {
        let folder = tempfile::tempdir().expect("a folder");
        let (base, over) = (folder.path().join("tiny"), folder.path().join("over"));
        model(&base);
        let lora = r#"{"peft_type": "LORA", "r": 2, "base_model_name_or_path": "tiny"}"#;
        let tried = |config: &str, tensors: &[(String, Vec<u64>)]| {
            let tensors: Vec<(&str, &[u64])> = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
            adapter(&over, config, &tensors);
            inspect(&base, Some(&over))
        };
        let good = tried(lora, &pair([2, 8], [6, 2])).expect("it fits");
        let held = good.entry.adapter.expect("held");
        assert_eq!((held.rank, held.base.as_deref(), held.files.len()), (2, Some("tiny"), 2));
        let alone = inspect(&base, None).expect("sound").entry.weights;
        let whole = [blake3::hash(&std::fs::read(base.join("model.safetensors")).expect("a file")).as_bytes().to_vec()];
        let files = adapter::FILES.map(|name| std::fs::read(over.join(name)).expect("a file"));
        assert_eq!(good.entry.weights, short(&blake3::hash(&[whole.concat(), files.concat()].concat())));
        assert_ne!(good.entry.weights, alone);
        let mut stranger = pair([2, 8], [6, 2]);
        stranger.push(("base_model.model.model.layers.7.mlp.up_proj.lora_A.weight".to_owned(), vec![2, 8]));
        stranger.push(("base_model.model.model.layers.7.mlp.up_proj.lora_B.weight".to_owned(), vec![6, 2]));
        for (config, tensors, said) in [
            (lora, pair([2, 9], [6, 2]), "but the base's has 8 and 6"),
            (lora, pair([3, 8], [6, 3]), "says 2"),
            (lora, pair([2, 8], [6, 2])[..1].to_vec(), "a half is missing"),
            (lora, stranger, "the base has no such matrix"),
            (lora, vec![("something".to_owned(), vec![1])], "is no half of a LoRA pair"),
            (r#"{"peft_type": "IA3", "r": 2}"#, pair([2, 8], [6, 2]), "IA3"),
            ("{", pair([2, 8], [6, 2]), "adapter_config.json"),
        ] {
            let error = tried(config, &tensors).err().expect(said);
            assert!(error.to_string().contains(said), "{said}: {error}");
        }
        assert!(inspect(&base, Some(&base)).err().expect("no adapter").to_string().contains("an adapter is a folder with"));
    }

    #[test]
    fn names_what_keeps_a_folder_from_being_a_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tiny");
        let broken = |name: &str, bytes: Option<&[u8]>, said: &str| {
            model(&path);
            match bytes {
                Some(bytes) => std::fs::write(path.join(name), bytes).expect("a file"),
                None => std::fs::remove_file(path.join(name)).expect("removed"),
            }
            let error = inspect(&path, None).err().expect(said);
            assert_eq!(crate::exit::of(&error), crate::exit::Exit::Unusable);
            assert!(error.to_string().contains(said), "{said}: {error}");
        };
        broken("model.safetensors", None, "neither a GGUF file nor a safetensors file");
        broken("model.safetensors", Some(b"short"), "no sound safetensors");
        broken("config.json", None, "config.json");
        broken("config.json", Some(b"{}"), "no model_type");
        broken("config.json", Some(br#"{"model_type": "mistral", "num_hidden_layers": 3}"#), "counts 3 layers, but the weights have 1");
        broken("tokenizer.json", None, "tokenizer.json");
        broken("tokenizer.json", Some(b"{}"), "no tokenizer");
        assert!(inspect(&path.join("none"), None).is_err());
        assert!(inspect(&path.join("README.md"), None).err().expect("no model").to_string().contains("a model is a GGUF file"));
    }
}
