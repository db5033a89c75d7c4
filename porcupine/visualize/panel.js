"use strict";

// The texts beside the picture. Texts from the history are always set as text and never as HTML.

function element(name, text, attributes = {}) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

function list(pairs) {
  const dl = element("dl");
  for (const [term, text, kind] of pairs) {
    if (text === "" || text === undefined) continue;
    dl.append(element("dt", term), element("dd", text, kind ? { class: kind } : {}));
  }
  return dl;
}

// showReason shows the explanation of an illegal partition.
function showReason(section, part, select) {
  section.replaceChildren();
  section.hidden = !part?.reason;
  if (section.hidden) return;
  const { reason, stuck, core } = part;
  section.append(element("h2", "Why the partition is illegal"), element("p", reason.text, { id: "reasonText" }));
  if (reason.possible?.length > 0) {
    section.append(element("h2", "Possible states at that moment"));
    const states = element("ul", undefined, { id: "possible" });
    for (const p of reason.possible) {
      const li = element("li");
      li.append(element("span", p.State, { class: "state" }));
      if (p.Answer) li.append(element("div", `would have answered ${p.Answer}`));
      states.append(li);
    }
    section.append(states);
  }
  section.append(element("h2", `The core: ${core.size} operations, illegal on their own`));
  const ops = element("ol", undefined, { id: "core" });
  for (const op of core) {
    const li = element("li", `${op.label}: ${op.text}`, op === stuck ? { class: "stuck" } : {});
    li.addEventListener("click", () => select(op));
    ops.append(li);
  }
  section.append(ops);
}

// showDetails describes the selected item, or the current step.
function showDetails(section, history, item, linearization, step) {
  section.replaceChildren();
  if (item) {
    section.append(element("h2", item.note ? "Remark" : "Operation"), list(describe(history, item, linearization)));
  }
  if (linearization && step > 0) {
    const op = linearization.ops[step - 1];
    section.append(element("h2", `Step ${step} of ${linearization.ops.length}`), list([
      ["operation", `${op.label}: ${op.text}`],
      ["state before", linearization.stateBefore(step - 1), "state"],
      ["state after", linearization.states[step - 1], "state"],
    ]));
  }
  if (!item && !(linearization && step > 0)) {
    section.append(element("p", "Point at or click an operation, or step through the linearization with the arrow keys. The key ? lists all keys."));
  }
}

function describe(history, item, linearization) {
  const pairs = [
    [item.note ? "in" : "client", item.note ? item.label : String(item.client)],
    [item.note ? "remark" : "operation", item.text],
    ["details", item.details],
    [item.note ? "from" : "call", history.time(item.start)],
    [item.note ? "to" : "return", history.time(item.end)],
    ["metadata", item.metadata],
  ];
  if (item.note) return pairs;
  pairs.push(["partition", String(item.part.index)]);
  const step = linearization?.stepOf.get(item);
  if (step !== undefined) {
    pairs.push(
      ["takes effect", `as number ${step + 1}`],
      ["state before", linearization.stateBefore(step), "state"],
      ["state after", linearization.states[step], "state"],
    );
  } else if (linearization?.part === item.part) {
    pairs.push(["takes effect", "not in this linearization"]);
  }
  return pairs;
}
