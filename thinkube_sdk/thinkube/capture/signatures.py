"""What well-known functions and methods do to the objects they are given.

Names are matched by their dotted path (`random.shuffle`), or for methods by the verb alone and the
library the receiver came from. What stands in no table is judged by how it is used (see `calls`).
"""

from __future__ import annotations

import re
from typing import Literal

Effect = Literal["reads", "parts", "derives", "changes", "external", "unknown"]


def _listed(text: str) -> list[str]:
    return text.split()


def words(text: str) -> frozenset[str]:
    """The words of a table."""
    return frozenset(_listed(text))


# Functions without any effect that matters later: they show, measure, compare or make something new.
PURE_BUILTINS = words(
    "print repr str int float bool complex len abs round pow divmod sum any all ord chr hex oct bin "
    "format hash id isinstance issubclass callable dir help type ascii bytes display breakpoint hasattr"
)
# Built-in functions whose result holds (or is) what they were given.
HOLDING_BUILTINS = words(
    "list tuple set frozenset dict sorted reversed enumerate zip map filter iter min max getattr vars "
    "range slice bytearray memoryview object property staticmethod classmethod super open compile globals "
    "locals"
)
ITERATORS = words("iter zip map filter enumerate reversed open")
# Built-in functions that use up an iterator they are given.
CONSUMERS = words("list tuple set frozenset dict sorted sum any all min max next zip map filter enumerate")
CALL_THEIR_ARGUMENT = words("map filter sorted min max reduce")

# Methods that change their receiver, whatever it is.
_CHANGING = words(
    "append appendleft extend extendleft insert remove pop popleft popitem clear update setdefault "
    "discard sort reverse rotate push put put_nowait write writelines truncate subtract fit partial_fit "
    "fit_transform train compile_model load_state_dict load_weights load_adapter eval cuda cpu half float "
    "bfloat16 requires_grad_ zero_ fill_ copy_ mul_ sub_ div_ zero_grad step backward connect bind attach "
    "detach mount include_router enable disable activate configure configurate setup initialize init "
    "start stop close open reset seed merge_and_unload freeze unfreeze resize_token_embeddings "
    "gradient_checkpointing_enable gradient_checkpointing_disable for_inference for_training use install "
    "uninstall apply_patch monkeypatch patch inject subscribe unsubscribe listen on once hook wrap_model "
    "teach learn remember memorize ingest feed extend_graph compile_graph upsert index_documents next "
    "send throw __setitem__ __delitem__ __setattr__ __delattr__ __iadd__ __init__ __next__ execute "
    "executemany executescript commit create_function basicConfig addHandler removeHandler setLevel "
    "setFormatter addFilter"
)
_CHANGING_PREFIX = re.compile(
    r"^(add|set|register|unregister|append|insert|remove|delete|del|update|upsert|push|put|attach|detach|replace|enable|"
    r"disable|load|unload|init|mark|increment|decrement|incr|decr|assign|populate|fill|train|index|store|save_state|prepend|"
    r"create|drop|rename|define|declare|configure|install|subscribe)(_|(?=[A-Z])|$)"
)
# Methods that run or read their receiver and hand over something new.
_READING = words(
    "debug warning error critical exception "
    "invoke ainvoke stream astream batch abatch astream_events astream_log batch_as_completed "
    "abatch_as_completed run arun call acall predict apredict predict_proba predict_messages generate "
    "agenerate complete acomplete chat achat ask query aquery search asearch retrieve aretrieve "
    "get_relevant_documents aget_relevant_documents similarity_search asimilarity_search "
    "similarity_search_with_score similarity_search_by_vector max_marginal_relevance_search embed_query "
    "embed_documents aembed_query aembed_documents encode decode batch_decode tokenize detokenize score "
    "evaluate kickoff kickoff_async transform predict_on_batch head tail describe info sample show plot "
    "hist boxplot scatter imshow draw draw_mermaid draw_mermaid_png draw_png draw_ascii print_ascii "
    "pretty_print pretty_repr print_trainable_parameters summary render display view visualize to_string "
    "to_markdown to_html to_json to_dict to_csv to_parquet to_pickle to_excel to_latex to_records "
    "to_numpy tolist item model_dump model_dump_json dict json schema schema_json model_json_schema "
    "json_schema get_prompts get_name get_input_schema get_output_schema get_input_jsonschema "
    "get_output_jsonschema get_state get_state_history aget_state aget_state_history get_num_tokens "
    "get_graph count index find rfind startswith endswith strip lstrip rstrip split rsplit splitlines "
    "join lower upper title capitalize casefold swapcase replace format format_map encode_plus translate "
    "zfill ljust rjust center partition rpartition isdigit isalpha isalnum isnumeric isspace isupper "
    "islower removeprefix removesuffix expandtabs isoformat strftime strptime timestamp total_seconds "
    "mean std var sum min max median mode quantile corr cov nunique value_counts unique isna isnull notna "
    "notnull dropna fillna sort_values sort_index reset_index set_index groupby agg aggregate merge "
    "join_df astype drop_duplicates explode melt pivot pivot_table apply map applymap filter query_df "
    "assign rename drop isin between clip cumsum diff shift rolling resample dot matmul norm numel dim "
    "size shape exists is_file is_dir read_text read_bytes iterdir glob rglob stat resolve absolute "
    "relative_to with_suffix with_name joinpath union intersection difference symmetric_difference "
    "issubset issuperset isdisjoint most_common elements total bit_length as_integer_ratio hexdigest "
    "digest split_documents split_text create_documents format_messages format_prompt apply_chat_template "
    "get_tools list_tools scroll recommend query_points get_collection get_collections count_tokens "
    "export_to_markdown memory_usage equals compare select where order_by limit fetchone fetchall "
    "fetchmany parse lookup respond reply answer"
)
_READING_PREFIX = re.compile(
    r"^(get|is|has|to|as|run|list|find|search|predict|generate|compute|calculate|count|describe|show|plot|print|draw|render|"
    r"display|format|encode|decode|embed|similarity|sim|export|save|dump|view|inspect|check|validate|verify|test|evaluate|"
    r"measure|read|fetch|retrieve|query|ask|peek|summar|explain|visuali[sz]e|pretty|log|repr|stat|can|should|benchmark|"
    r"estimate|lookup|__len__|__repr__|__str__|__contains__|__iter__)(_|(?=[A-Z])|$)"
)
# Methods that hand over a part of the receiver, so that changing the part changes the receiver.
_PARTS = words(
    "get items values keys __getitem__ copy deepcopy iter head tail parameters named_parameters modules "
    "children named_modules named_children state_dict view setdefault get_submodule getroot find findall "
    "iterrows itertuples buffer getbuffer cursor get_model get_base_model base_model sublist group groups "
    "get_dataset __enter__"
)
# Methods that make a new object around the receiver.
_DERIVING = words(
    "bind bind_tools bind_functions with_config with_structured_output with_retry with_fallbacks "
    "with_types with_listeners pipe assign pick as_tool as_retriever as_query_engine as_chat_engine "
    "as_agent compile partial configurable_fields configurable_alternatives map batch_map build create "
    "finalize to copy clone with_options options with_raw_response bind_model to_tool"
)

# Libraries whose objects' methods give new objects unless the verb says otherwise.
_VALUE_LIBRARIES = words(
    "pandas numpy datetime decimal fractions pathlib re json math statistics string textwrap polars"
)

# Dotted functions: what they do. `$1` names the first argument.
_CHANGE_FIRST = words(
    "random.shuffle heapq.heappush heapq.heapify heapq.heappop heapq.heappushpop heapq.heapreplace "
    "bisect.insort bisect.insort_left bisect.insort_right numpy.copyto numpy.put numpy.place "
    "numpy.fill_diagonal numpy.random.shuffle setattr delattr next torch.nn.init numpy.put_along_axis "
    "object.__setattr__ operator.setitem operator.delitem operator.iadd functools.update_wrapper "
    "unsloth.FastLanguageModel.for_inference unsloth.FastLanguageModel.for_training "
    "unsloth.FastVisionModel.for_inference unsloth.FastVisionModel.for_training "
    "unsloth.FastModel.for_inference unsloth.FastModel.for_training struct.pack_into shelve.open"
)
_PURE_MODULES = _listed(
    "math. cmath. operator. json. re. textwrap. string. itertools. statistics. datetime. time. uuid. "
    "hashlib. base64. pprint. copy. fractions. decimal. typing. typing_extensions. dataclasses. enum. "
    "collections. functools. pathlib. os.path. glob. inspect. html. urllib.parse. difflib. unicodedata. "
    "matplotlib. seaborn. plotly. altair. bokeh. IPython. rich. tqdm. traceback. sys.getsizeof "
    "sys.version platform. shutil.which pdb. timeit. gc. tracemalloc. graphviz. pydot. numpy. pandas. "
    "subprocess. webbrowser. sklearn.metrics. textstat."
)
_PURE = words(
    "os.getcwd os.listdir os.getpid os.path os.cpu_count os.getenv os.environ.get os.walk os.scandir "
    "os.stat sys.exit torch.cuda.is_available torch.cuda.empty_cache torch.cuda.get_device_properties "
    "torch.cuda.max_memory_reserved torch.cuda.memory_allocated torch.no_grad torch.tensor torch.randn "
    "torch.zeros torch.ones torch.cat torch.stack torch.cuda.get_device_capability "
    "torch.cuda.get_device_name torch.cuda.synchronize torch.cuda.reset_peak_memory_stats "
    "langchain_core.messages.convert_to_messages logging.info logging.debug logging.warning logging.error "
    "logging.exception langchain.globals.get_debug warnings.warn unsloth.is_bfloat16_supported "
    "unsloth.is_bf16_supported thinkube.status thinkube.deploy thinkube.package thinkube.deployments "
    "thinkube.deployment thinkube.secret transformers.TextStreamer asyncio.sleep time.sleep gc.collect "
    "os.system os.popen torch.clear_autocast_cache torch.cuda.ipc_collect torch.cuda.mem_get_info "
    "torch.cuda.device_count torch.cuda.max_memory_allocated torch.cuda.memory_reserved "
    "torch.cuda.memory_summary torch.cuda.current_device torch.cuda.is_bf16_supported"
)
# Standard modules of which no function changes the module itself.
STATELESS = words("os shutil subprocess sys time")
_EXTERNAL = re.compile(
    r"^(mlflow\.(log_|start_run|end_run|register_|set_tag|set_experiment|create_experiment|delete_|autolog|evaluate|models\.|"
    r"langchain\.(log_|autolog)|openai\.autolog|sklearn\.log|pyfunc\.(log|save)|artifacts\.log|flush|tracing)|"
    r"wandb\.(init|log|finish|save|login|watch|alert)|requests\.(post|put|patch|delete)$|httpx\.(post|put|patch|delete)$|"
    r"huggingface_hub\.(login|notebook_login|upload_|create_repo|push|delete_|logout)|shutil\.(rmtree|make_archive)|"
    r"smtplib\.|google\.colab\.(files|drive|output|auth)|kaggle\.|comet_ml\.|neptune\.init|clearml\.|dagshub\.init|"
    r"langsmith\.(evaluate|aevaluate)|os\.(_exit|abort|kill|remove|unlink|rmdir|removedirs|rename|replace)$)"
)
# Clients of something outside the process; methods that write there are not for a replica to repeat.
_REMOTE = re.compile(
    r"^(qdrant_client\.(Async)?QdrantClient|boto3\.(client|resource|Session)|nats\.(connect|aio|NATS)|minio\.Minio|"
    r"redis\.|pymongo\.|psycopg|psycopg2|asyncpg|mysql|pymilvus|weaviate|pinecone\.|elasticsearch|opensearchpy|kafka\.|"
    r"confluent_kafka|aiokafka|pika|paho|google\.cloud|azure\.|slack_sdk|sendgrid|twilio|stripe|notion_client|"
    r"neo4j\.|langsmith\.Client|mlflow\.(MlflowClient|tracking)|chromadb\.(HttpClient|AsyncHttpClient|CloudClient)|"
    r"thinkube\.(qdrant|nats|mlflow|langfuse|s3)|langfuse\.|huggingface_hub\.HfApi|openai\.(Async)?OpenAI|thinkube\.openai|"
    r"requests\.Session|httpx\.(Async)?Client|smtplib|supabase|gspread|praw|tweepy|github\.Github)"
)
_REMOTE_WRITES = re.compile(
    r"^(upsert|upload|publish|put|post|patch|delete|drop|create|insert|update|write|send|produce|log|set|add|index|"
    r"push|save|commit|flush|remove|truncate|recreate|bulk|execute|executemany|request|xadd|lpush|rpush|sadd|hset|incr|"
    r"score|trace|span|event|ingest|store|from_documents|from_texts)(_|(?=[A-Z])|$)"
)
_ANYWHERE_EXTERNAL = words(
    "push_to_hub push_to_hub_merged push_to_hub_gguf log_metric log_metrics log_param log_params "
    "log_artifact log_artifacts send_message send_email sendmail "
    "launch serve serve_forever run_forever run_server mainloop start_server"
)
# Methods that write a file and leave their receiver as it is.
_SAVING = re.compile(
    r"^(save_(pretrained|model|weights|local|to_disk|vocabulary|checkpoint|state_dict|as|pickle|json)\w*|persist|savefig|savetxt|"
    r"to_(csv|json|parquet|pickle|excel|html|latex|feather|sql|markdown|file|disk)|write_(html|image|json|csv|parquet)|export\w*|"
    r"dump_to_file|fig_to\w*)$"
)
_PLOTTING = re.compile(
    r"(?i)(plot$|^plot|plots$|^hist|scatter|heatmap|imshow|chart$|^figure$|^barh?$|violin|^set_theme$|^set_style$|^show$|^show_|"
    r"^display|^draw_|^render|^pie$)"
)
# Process-wide settings that shape what later code does: always kept.
_AMBIENT = re.compile(
    r"^(os\.(putenv|unsetenv|umask|chdir|makedirs|mkdir)$|os\.environ\.(update|setdefault|pop|clear|__setitem__)$|"
    r"sys\.(path|setrecursionlimit|set_int_max_str_digits)|site\.addsitedir|locale\.setlocale|"
    r"multiprocessing\.set_start_method|threading\.stack_size|socket\.setdefaulttimeout|"
    r"asyncio\.set_event_loop_policy|signal\.signal|atexit\.register|codecs\.register|copyreg\.)"
)
FOLDERS = words("os.makedirs os.mkdir")
RANDOM = {
    "random": re.compile(r"^random\.(?!Random|SystemRandom)\w+$"),
    "numpy.random": re.compile(r"^numpy\.random\.(?!default_rng|Generator|RandomState)\w+$"),
    "torch": re.compile(r"^torch\.(manual_seed|seed|rand\w*|normal|multinomial|bernoulli|randperm)$"),
}
# What only works while an event loop runs, and outlives the statement.
BACKGROUND = words("asyncio.create_task asyncio.ensure_future asyncio.get_running_loop asyncio.current_task")
SEEDS = re.compile(r"(^|\.)(seed|manual_seed|setstate|set_state|set_seed)$")
SEEDS_ALL = re.compile(r"\.(set_seed|seed_everything|enable_full_determinism|set_random_seed)$")
PROMPTS = words("input getpass getpass.getpass getpass.unix_getpass pwinput.pwinput")
STORED_SECRETS = re.compile(
    r"(^google\.colab\.userdata\.get$|^kaggle_secrets\.UserSecretsClient\.get_secret$)"
)
DOTENV = re.compile(r"^dotenv\.(main\.)?load_dotenv$|^dotenv\.load_dotenv$")
# Context managers that only observe; their block runs the same without them.
OBSERVERS = re.compile(
    r"^(mlflow\.(start_run|start_span)|IPython\.utils\.capture|"
    r"IPython\.utils\.io\.capture_output|wandb\.init|langsmith\.(trace|tracing_context)|cProfile\.Profile|"
    r"langchain_core\.tracers|langchain\.callbacks\.get_openai_callback|langchain_community\.callbacks|"
    r"warnings\.catch_warnings|torch\.autograd\.profiler|codecarbon)"
)
# Modules that change others by being imported.
IMPORTED_FOR_EFFECT = words(
    "unsloth unsloth_zoo gevent eventlet intel_extension_for_pytorch torch_npu tensorflow_text readline "
    "pyximport cudf sklearn.experimental pandas_ta scienceplots"
)
TRANSPARENT_DECORATORS = re.compile(
    r"^(functools\.(wraps|lru_cache|cache|singledispatch|total_ordering)|contextlib\.\w*contextmanager|"
    r"dataclasses\.dataclass|abc\.\w+|typing\.\w+|langsmith\.traceable|langfuse\.observe|mlflow\.trace|tenacity\.retry|"
    r"staticmethod|classmethod|property|torch\.\w+|numba\.\w+|enum\.\w+|weave\.op|traceback\.\w+)"
)
# Functions that hand over something out of what they are given.
ELEMENTS = words("next min max functools.reduce reduce random.choice operator.getitem copy.copy getattr")
# Methods that run their receiver.
INVOKES = words(
    "invoke ainvoke stream astream batch abatch run arun call kickoff start submit map apply __call__ "
    "astream_events"
)
# Reading methods that never call what they are given.
INERT = words(
    "get format join index count find startswith endswith encode decode batch_decode tokenize detokenize "
    "search query head tail isin equals dict json model_dump model_dump_json items keys values "
    "get_state format_messages format_prompt apply_chat_template"
)
# Changing methods that call a function they are given.
CALLING = words("callback push enter_context submit apply_async foreach forEach map")
# Generators of random numbers, and queues: each reading call changes them.
DRAWS_FROM = re.compile(
    r"^(random\.(Random|SystemRandom)|numpy\.random\.(default_rng|RandomState|Generator)|torch\.Generator)"
)
QUEUES = re.compile(r"^(queue|multiprocessing|asyncio)\.\w*Queue")
# Methods that use an object even where they change it.
USES = words("update_state aupdate_state launch train_step reset_conversation clear_history chat ask")
TRAINING = words("train fit evaluate predict test validate hyperparameter_search save_model save_state log")
OPENERS = words(
    "open io.open pandas.read_csv pandas.read_json pandas.read_parquet pandas.read_excel "
    "numpy.load numpy.loadtxt pathlib.Path.open"
)
RUNNERS = words(
    "start submit run_until_complete run run_in_executor apply apply_async starmap imap foreach map kickoff"
)


def verb_effect(verb: str, made_by: str, remote: bool) -> Effect:
    """Judge a method by its name and by the library that made its receiver."""
    if verb in _ANYWHERE_EXTERNAL:
        return "external"
    if _SAVING.match(verb):
        return "reads"
    library = made_by.partition(".")[0]
    if library in _VALUE_LIBRARIES and verb not in {
        "insert",
        "pop",
        "update",
        "setdefault",
        "append",
        "sort",
        "fill",
        "put",
    }:
        return (
            "reads"
            if verb not in {"write", "write_text", "write_bytes", "mkdir", "touch", "unlink"}
            else "unknown"
        )
    if remote and _REMOTE_WRITES.match(verb):
        return "external"
    if verb in _CHANGING and not (verb == "index" and library):
        return "changes"
    if verb in _PARTS:
        return "parts"
    if verb in _DERIVING:
        return "derives"
    if verb in _READING:
        return "reads"
    if _CHANGING_PREFIX.match(verb):
        return "changes"
    return "reads" if _READING_PREFIX.match(verb) else "unknown"


def function_effect(name: str) -> Literal["pure", "first", "external", "ambient", "unknown"]:
    """Judge a library function by its dotted name."""
    if name in _CHANGE_FIRST:
        return "first"
    if _EXTERNAL.match(name):
        return "external"
    if _AMBIENT.match(name):
        return "ambient"
    if _PLOTTING.search(name.rpartition(".")[2]) and "." in name:
        return "pure"
    if name in _PURE or name in PURE_BUILTINS:
        return "pure"
    if name.startswith(
        ("pandas.set_option", "pandas.options", "numpy.set", "numpy.seterr", "matplotlib.use")
    ):
        return "unknown"
    return "pure" if any(name.startswith(prefix) for prefix in _PURE_MODULES) else "unknown"


def is_remote(name: str, texts: frozenset[str]) -> bool:
    """Whether calling `name` with these known strings connects to something outside the process."""
    return bool(_REMOTE.match(name)) and ":memory:" not in texts
