"""Sources of the agents that the tests serve."""

GRAPH = """
from typing import TypedDict
from langgraph.graph import END, START, StateGraph

class State(TypedDict, total=False):
    question: str
    answer: str
    limit: int

def shout(state):
    if state["question"] == "raise":
        raise ValueError("asked to")
    return {"answer": state["question"].upper()[: state.get("limit", 100)]}

agent = StateGraph(State).add_node("shout", shout).add_edge(START, "shout").add_edge("shout", END).compile()
"""

BUILDER = GRAPH.replace(".compile()", "")

CHAT_GRAPH = """
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

def speak(state):
    words = f"{len(state['messages'])} messages, last: {state['messages'][-1].content}"
    return {"messages": GenericFakeChatModel(messages=iter([AIMessage(words)])).invoke(state["messages"])}

agent = StateGraph(MessagesState).add_node(speak).add_edge(START, "speak").add_edge("speak", END).compile()
"""

PYDANTIC_GRAPH = """
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field

class State(BaseModel):
    question: str
    copies: int = Field(default=1, ge=1, le=3)
    answer: str = ""

def repeat(state):
    return {"answer": state.question * state.copies}

agent = StateGraph(State).add_node(repeat).add_edge(START, "repeat").add_edge("repeat", END).compile()
"""

CHAIN = """
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

agent = ChatPromptTemplate.from_template("Say {question}") | RunnableLambda(lambda prompt: prompt.to_string())
"""

MODEL = """
from langchain_core.language_models import FakeListChatModel

agent = FakeListChatModel(responses=["one two three"])
"""

FUNCTION = """
def agent(question: str, loud: bool = False) -> str:
    '''Repeats what it hears.'''
    return question.upper() if loud else question
"""

SOLE = """
def agent(question: str) -> dict[str, str]:
    return {"answer": question[::-1], "source": "mirror"}
"""

COROUTINE = """
import asyncio

async def agent(question: str) -> str:
    await asyncio.sleep(0)
    return question + "!"
"""

GENERATOR = """
def agent(question: str):
    for word in question.split():
        yield word + " "
"""

ASYNC_GENERATOR = GENERATOR.replace("def agent", "async def agent")

CALLABLE = """
class Agent:
    def __call__(self, question: str) -> str:
        return question.title()

agent = Agent()
"""

UNTYPED = """
def agent(payload):
    return {"got": payload}
"""

TROUBLE = """
import datetime, sys, threading, time
from pathlib import Path

async def asynchronous(path):
    import asyncio
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        Path(path).write_text("cancelled")
        raise

def agent(do: str, path: str = ""):
    if do == "raise":
        raise ValueError("password=hunter2 is wrong")
    if do == "exit":
        sys.exit(5)
    if do == "loop":
        while True:
            pass
    if do == "stop":
        raise StopIteration
    if do == "lock":
        return {"held": [1, threading.Lock()]}
    if do == "nan":
        return float("nan")
    if do == "date":
        return {"day": datetime.date(2026, 1, 2), "tags": {1}}
    if do == "wait":
        try:
            while True:
                time.sleep(0.01)
        except BaseException as error:
            Path(path).write_text(type(error).__name__)
            raise
    if do == "wait async":
        return asynchronous(path)
    return do
"""

REMEMBERING = """
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

def count(state):
    return {"messages": [{"role": "assistant", "content": f"{len(state['messages'])} so far"}]}

saver = InMemorySaver()
builder = StateGraph(MessagesState).add_node(count).add_edge(START, "count").add_edge("count", END)
agent = builder.compile(saver)
"""

REMEMBERING_BLOCKING = REMEMBERING.replace(
    "saver = InMemorySaver()",
    """
from langgraph.checkpoint.base import BaseCheckpointSaver

class Blocking(BaseCheckpointSaver):
    def __init__(self, saver):
        super().__init__()
        self.saver = saver

    def get_tuple(self, config):
        return self.saver.get_tuple(config)

    def put(self, *parts):
        return self.saver.put(*parts)

    def put_writes(self, *parts):
        return self.saver.put_writes(*parts)

    def get_next_version(self, current, channel):
        return self.saver.get_next_version(current, channel)

saver = Blocking(InMemorySaver())
""",
)
