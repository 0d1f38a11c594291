"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const bytes = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  };
  // 16-bit differences along the second axis, summed up again
  const numbers = async ({ unit, shape, data: text }) => {
    const steps = new Uint16Array(await bytes(text));
    const [outer, along, ...rest] = shape;
    const inner = rest.reduce((product, size) => product * size, 1);
    const found = new Float32Array(steps.length);
    for (let o = 0; o < outer; o += 1) {
      for (let i = 0; i < inner; i += 1) {
        let sum = 0;
        for (let a = 0; a < along; a += 1) {
          const place = (o * along + a) * inner + i;
          sum = ((sum + steps[place]) << 16) >> 16;
          found[place] = sum * unit;
        }
      }
    }
    return found;
  };
  const raster = new Uint32Array(await bytes(data.raster));
  const [fields, series] = [await numbers(data.fields), await numbers(data.series)];
  const { rows, columns, nodes, shown, years, units } = data;
  const DOTTED = { "stroke-width": 3, "stroke-dasharray": "0.1 7", "stroke-linecap": "round" };
  const BLUE = "#0072b2";
  const ORANGE = "#b34700";
  const own = data.own && { ...data.own, place: data.pathways.length, fields: null, series: null, weights: new Float32Array(Uint8Array.from(atob(data.own.weights), (letter) => letter.charCodeAt(0)).buffer) };
  const field = (pathway, year) => own && pathway === own.place ? own.fields.subarray(year * nodes, (year + 1) * nodes) : fields.subarray((pathway * shown.length + year) * nodes, (pathway * shown.length + year + 1) * nodes);
  const regional = (pathway, statistic, region) => {
    if (own && pathway === own.place) return own.series[region];
    const start = ((pathway * data.statistics + statistic) * data.regions.length + region) * years.length;
    return series.subarray(start, start + years.length);
  };
  const signed = (value, digits = 2) => `${Number(value.toFixed(digits)) < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)} ${units}`;
  const guessed = (pathway, year) => data.pathways[pathway].beyond !== null && year >= data.pathways[pathway].beyond;
  const showing = () => state.view === "d" ? [state.first, state.second] : [state.view === "a" ? state.first : state.second];
  const guessing = () => showing().some((pathway) => guessed(pathway, shown[state.year])); // of what the map shows
  const option = (list, text, value) => list.append(new Option(text, value));
  const state = { first: 0, second: Math.min(1, data.pathways.length - 1), view: "a", year: shown.length - 1, region: 0, row: rows / 2, column: columns / 2, pointed: false };

  data.pathways.forEach(({ name }, place) => [option($("first"), name, place), option($("second"), name, place)]);
  data.regions.forEach(({ key, name }, place) => option($("region"), key === name ? name : `${name} (${key})`, place));
  $("second").value = state.second;
  $("year").max = shown.length - 1;
  $("year").value = state.year;

  // one scale for A and B of all years, another for their difference
  const { highest, cooler } = data;
  const values = () => {
    const [a, b] = [field(state.first, state.year), field(state.second, state.year)];
    if (state.view === "d") return b.map((value, node) => value - a[node]);
    return state.view === "a" ? a : b;
  };
  const scale = () => {
    if (state.view !== "d") return cooler ? { colours: data.diverging, low: -highest, high: highest } : { colours: data.warming, low: 0, high: highest };
    return { colours: data.diverging, low: -data.apart, high: data.apart };
  };
  const small = new OffscreenCanvas(columns, rows);
  const pixels = new ImageData(columns, rows);
  pixels.data.fill(255);
  const pathOf = (lines) => {
    const path = new Path2D();
    lines.forEach((line) => {
      for (let k = 0; k < line.length; k += 2) path[k ? "lineTo" : "moveTo"]((line[k] + 180) * (960 / 360), (90 - line[k + 1]) * (480 / 180));
    });
    return path;
  };
  const coasts = pathOf(data.coasts);
  const outlines = data.regions.map((region) => pathOf(region.outlines));
  const named = () => ({ a: data.pathways[state.first].name, b: data.pathways[state.second].name });
  const explain = () => {
    const told = [...new Set([state.first, state.second])].map((place) => data.pathways[place]).filter(({ meaning }) => meaning);
    $("named").textContent = told.map(({ name, meaning, beyond }) => `${name}: ${meaning}${beyond === null ? "" : ` From ${beyond} on a guess.`}`).join(" ");
  };
  const what = () => {
    const { a, b } = named();
    return state.view === "d" ? `${b} minus ${a}` : state.view === "a" ? a : b;
  };

  const drawMap = () => {
    const { colours, low, high } = scale();
    const now = values();
    for (let cell = 0; cell < raster.length; cell += 1) {
      if (raster[cell] >= nodes) {
        pixels.data.set([217, 217, 217], 4 * cell);
        continue;
      }
      const share = Math.round((255 * (now[raster[cell]] - low)) / (high - low));
      const colour = 3 * Math.max(0, Math.min(255, share));
      pixels.data.set([colours[colour], colours[colour + 1], colours[colour + 2]], 4 * cell);
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    const pen = $("map").getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, 960, 480);
    [[coasts, "rgba(255,255,255,.7)", 2.4], [coasts, "#000", 1], [outlines[state.region], "#fff", 6], [outlines[state.region], "#000", 3]].forEach(([path, colour, thick]) => {
      pen.lineWidth = thick;
      pen.strokeStyle = colour;
      pen.stroke(path);
    });
    if (guessing()) {
      const warning = "A guess: beyond the forcings that the emulator was trained on";
      pen.font = "600 20px system-ui, sans-serif";
      pen.fillStyle = "#fff";
      pen.fillRect(8, 440, pen.measureText(warning).width + 20, 34);
      pen.fillStyle = "#8a0000";
      pen.fillText(warning, 18, 464);
    }
    if (state.pointed) {
      const [x, y] = [((state.column + 0.5) * 960) / columns, ((state.row + 0.5) * 480) / rows];
      [["#fff", 5], ["#000", 2]].forEach(([colour, thick]) => {
        pen.strokeStyle = colour;
        pen.lineWidth = thick;
        pen.beginPath();
        pen.arc(x, y, 8, 0, 2 * Math.PI);
        pen.stroke();
      });
    }
    $("shown").textContent = shown[state.year];
    $("year").setAttribute("aria-valuetext", String(shown[state.year]));
    $("map").setAttribute("aria-label", `Map of the change of the ${data.title}, ${what()}, ${shown[state.year]}: from ${signed(Math.min(...now))} to ${signed(Math.max(...now))}`);
    drawBar(colours, low, high, now);
  };
  const width = (id) => Math.max(300, Math.min(960, $(id).clientWidth || 960)); // so that type keeps its size on a telephone
  const drawBar = (colours, low, high, now) => {
    const wide = width("bar");
    $("bar").width = wide;
    const pen = $("bar").getContext("2d");
    const long = wide - 100;
    for (let x = 0; x < long; x += 1) {
      const colour = 3 * Math.floor((255 * x) / (long - 1));
      pen.fillStyle = `rgb(${colours.slice(colour, colour + 3).join()})`;
      pen.fillRect(50 + x, 4, 1, 16);
    }
    pen.fillStyle = "#1a1a1a";
    pen.font = "14px system-ui, sans-serif";
    pen.textAlign = "center";
    for (let k = 0; k <= 4; k += 1) {
      const margin = (high - low) / 100;
      const more = k === 4 && now.some((value) => value > high + margin) ? "≥ " : k === 0 && now.some((value) => value < low - margin) ? "≤ " : "";
      pen.fillText(`${more}${(low + ((high - low) * k) / 4).toFixed(1).replace("-", "−")}${k === 4 ? ` ${units}` : ""}`, 50 + (long * k) / 4, 38);
    }
    $("bar").setAttribute("aria-label", `Colours from ${low.toFixed(1)} to ${high.toFixed(1)} ${units}`);
  };
  const read = () => {
    if (!state.pointed) return;
    const latitude = 90 - ((state.row + 0.5) * 180) / rows;
    const longitude = -180 + ((state.column + 0.5) * 360) / columns;
    const place = `${Math.abs(latitude).toFixed(1)}° ${latitude < 0 ? "S" : "N"}, ${Math.abs(longitude).toFixed(1)}° ${longitude < 0 ? "W" : "E"}`;
    const node = raster[state.row * columns + state.column];
    const guess = guessing() ? " (a guess)" : "";
    const same = state.view === "d" && state.first === state.second ? ": A and B are the same pathway" : "";
    $("reading").textContent = `${place}, ${shown[state.year]}, ${what()}: ${node < nodes ? `${signed(values()[node])}${guess}${same}` : "no value"}`;
  };

  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const frame = { left: 44, right: 945, top: 34, bottom: 300 };
  const across = (year) => frame.left + ((year - years[0]) / (years[years.length - 1] - years[0])) * (frame.right - frame.left);
  const drawChart = () => {
    const chosen = [...new Set([state.first, state.second])];
    const wide = width("chart");
    frame.right = wide - 16;
    $("chart").setAttribute("viewBox", `0 0 ${wide} 372`);
    const parts = [`${data.regions[state.region].name}:`, `change of the ${data.title}`, `[${units}], relative to ${data.base}`];
    const title = wide < 700 ? parts : [parts.join(" ")];
    frame.top = 18 + 16 * title.length;
    let [low, high] = [0, 0];
    chosen.forEach((pathway) => [0, 1, 2].forEach((statistic) => regional(pathway, statistic, state.region).forEach((value) => {
      low = Math.min(low, value);
      high = Math.max(high, value);
    })));
    const step = [0.2, 0.5, 1, 2, 5, 10].find((size) => (high - low) / size <= 8) || 20;
    [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step || step];
    const up = (value) => frame.bottom - ((value - low) / (high - low)) * (frame.bottom - frame.top);
    const chart = $("chart");
    chart.replaceChildren();
    for (let value = low; value <= high + 1e-9; value += step) {
      chart.append(svg("line", { x1: frame.left, x2: frame.right, y1: up(value), y2: up(value), stroke: Math.abs(value) < 1e-9 ? "#555" : "#ddd" }));
      chart.append(svg("text", { x: frame.left - 8, y: up(value) + 5, "text-anchor": "end" }, String(Math.round(value * 10) / 10).replace("-", "−")));
    }
    const every = [5, 10, 20, 25, 50, 100].find((size) => (years[years.length - 1] - years[0]) / size <= wide / 80) || 100;
    for (let year = Math.ceil(years[0] / every) * every; year <= years[years.length - 1]; year += every) {
      chart.append(svg("text", { x: Math.min(across(year), wide - 18), y: frame.bottom + 20, "text-anchor": "middle" }, year));
    }
    title.forEach((line, order) => chart.append(svg("text", { x: 4, y: 15 + 16 * order }, line)));
    chosen.forEach((pathway, order) => {
      const colour = order ? ORANGE : BLUE;
      const line = (statistic) => Array.from(regional(pathway, statistic, state.region), (value, k) => `${across(years[k]).toFixed(1)} ${up(value).toFixed(1)}`);
      if (data.pathways[pathway].members > 1) {
        chart.append(svg("polygon", { points: [...line(1), ...line(2).reverse()].join(" "), fill: colour, opacity: 0.2 }));
      }
      const { beyond } = data.pathways[pathway];
      const end = beyond === null ? years.length : Math.max(1, years.findIndex((year) => year >= beyond) + 1);
      chart.append(svg("polyline", { points: line(0).slice(0, end).join(" "), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": order ? "12 4" : "none" }));
      chart.append(svg("polyline", { points: line(0).slice(end - 1).join(" "), fill: "none", stroke: colour, ...DOTTED }));
      const below = 340 + 22 * order;
      chart.append(svg("line", { x1: frame.left, x2: frame.left + 40, y1: below, y2: below, stroke: colour, "stroke-width": 3, "stroke-dasharray": order ? "12 4" : "none" }));
      chart.append(svg("text", { x: frame.left + 48, y: below + 5 }, `${pathway === state.first ? "A" : "B"} ${data.pathways[pathway].name}${beyond === null ? "" : `, from ${beyond} a guess (dotted)`}`));
      if (beyond !== null) chart.append(svg("line", { x1: frame.left + 300, x2: frame.left + 340, y1: below, y2: below, stroke: colour, ...DOTTED }));
    });
    chart.append(svg("line", { id: "now", y1: frame.top, y2: frame.bottom, stroke: "#1a1a1a", "stroke-dasharray": "2 3" }));
    $("chart-title").textContent = data.regions[state.region].name;
    markYear();
  };
  const markYear = (year = shown[state.year]) => {
    const place = years.indexOf(year);
    const line = $("now");
    line.setAttribute("x1", across(year));
    line.setAttribute("x2", across(year));
    const told = [...new Set([state.first, state.second])].map((pathway) => {
      const [mean, low, high] = [0, 1, 2].map((statistic) => regional(pathway, statistic, state.region)[place]);
      const band = data.pathways[pathway].members > 1 ? ` (band ${signed(low)} to ${signed(high)})` : " (no band: nothing says how sure it is)";
      return `${data.pathways[pathway].name} ${signed(mean)}${band}${guessed(pathway, year) ? ", a guess" : ""}`;
    });
    const [a, b] = [state.first, state.second].map((pathway) => regional(pathway, 0, state.region)[place]);
    const apart = state.first === state.second ? "" : `; B minus A ${signed(b - a)}`;
    $("chart-caption").textContent = `${data.regions[state.region].name} (${data.regions[state.region].cells} cells), ${year}: ${told.join("; ")}${apart}. Mean over the area of the region. ${[state.first, state.second].some((pathway) => data.pathways[pathway].members > 1) ? data.bands : ""}`;
  };
  const row = (cells, tag) => {
    const line = document.createElement("tr");
    cells.forEach((cell, place) => {
      const element = document.createElement(place ? tag : "th");
      element.append(cell);
      if (!place || tag === "th") element.scope = tag === "th" ? "col" : "row";
      line.append(element);
    });
    return line;
  };
  // every region in the year of the map, those first where what the map shows is most
  const ranked = () => {
    const place = years.indexOf(shown[state.year]);
    const at = (pathway, region) => [0, 1, 2].map((statistic) => regional(pathway, statistic, region)[place]);
    const size = ({ a, b }) => state.view === "d" ? b[0] - a[0] : state.view === "a" ? a[0] : b[0];
    return data.regions.map((region, k) => ({ ...region, place: k, a: at(state.first, k), b: at(state.second, k) })).sort((one, other) => size(other) - size(one));
  };
  const choose = data.regions.map(({ key, name }, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = key === name ? name : `${name} (${key})`;
    button.onclick = () => {
      state.region = place;
      $("region").value = place;
      all();
      const link = document.createElement("a");
      Object.assign(link, { href: "#controls", textContent: "Go there" });
      $("ranking-shown").replaceChildren(`${name} is now in the chart above${data.regions[place].outlines.length ? " and outlined on the map" : ""}. `, link, ".");
    };
    return button;
  });
  const rank = () => {
    const { a, b } = named();
    const same = state.first === state.second;
    const focused = document.activeElement;
    const bare = (value) => signed(value).split(" ")[0];
    const told = (pathway, [mean, low, high]) => `${signed(mean)}${data.pathways[pathway].members > 1 ? ` (${bare(low)} to ${bare(high)})` : ""}`;
    const lines = ranked().map((region) => {
      choose[region.place].setAttribute("aria-pressed", String(region.place === state.region));
      return row([choose[region.place], told(state.first, region.a), ...(same ? [] : [told(state.second, region.b), signed(region.b[0] - region.a[0])])], "td");
    });
    const [guessA, guessB] = [state.first, state.second].map((pathway) => guessed(pathway, shown[state.year]) ? " (a guess)" : "");
    $("ranking").replaceChildren(row(["Region", `A ${a}${guessA}`, ...(same ? [] : [`B ${b}${guessB}`, `B minus A${guessA || guessB}`])], "th"), ...lines);
    if (choose.includes(focused)) focused.focus({ preventScroll: true });
    $("ranking-note").textContent = `Change of the ${data.title} in ${shown[state.year]} over ${data.base}, regions with the highest first by ${what()}; in brackets the band of single years, where there is one. Choose a region to see its outline on the map and its years in the chart.`;
  };
  const passes = () => {
    $("passes").replaceChildren(row(["Pathway", ...data.thresholds.map((threshold) => `${threshold} ${units}`)], "th"));
    data.pathways.forEach((pathway) => $("passes").append(row([pathway.name, ...pathway.passes.map((year) => year === null ? `not until the end${pathway.beyond === null ? "" : " (a guess)"}` : `${year}${pathway.beyond !== null && year + data.span / 2 > pathway.beyond ? " (a guess)" : ""}`)], "td")));
    const column = data.regions.findIndex(({ key }) => key === "global");
    const last = years[years.length - 1];
    $("headline").textContent = `${data.pathways.filter(({ name }) => name !== OWN).map(({ name, beyond }, place) => `${name} ${signed(regional(place, 0, column)[years.length - 1], 1)}${beyond === null ? "" : ` (a guess from ${beyond} on)`}`).join(", ")}, for the globe in ${last}.`;
  };

  // a drawn pathway: the total forcing, linear between knots, through the reduction that the page states
  const OWN = "your own";
  const remembered = (forcing, memory) => {
    const kept = Math.exp(-1 / memory);
    let now = forcing[0];
    return forcing.map((value) => {
      const mean = value + (now - value) * memory * (1 - kept);
      now = value + (now - value) * kept;
      return mean;
    });
  };
  const featuresOf = (forcing) => {
    const [fast, slow] = own.years.map((memory) => remembered(forcing, memory));
    return years.map((year) => {
      const [f, s] = [fast[year - own.begin], slow[year - own.begin]];
      return [1, f, s, f * f, f * s];
    });
  };
  // each year's forcing, and what is remembered of it
  const knownOf = (forcing) => featuresOf(forcing).map(([, f, s], place) => [forcing[years[place] - own.begin], f, s]);
  const evaluate = () => {
    const features = featuresOf(own.drawn);
    // what the emulator says of the first pathway, and what the reduction says of the difference from it
    const apart = features.map((row, place) => row.map((value, k) => value - own.anchor[place][k]));
    own.fields = new Float32Array(shown.length * nodes);
    shown.forEach((year, place) => {
      const row = apart[years.indexOf(year)];
      const there = field(0, place);
      for (let node = 0; node < nodes; node += 1) {
        let sum = there[node];
        for (let k = 1; k < 5; k += 1) sum += row[k] * own.weights[k * nodes + node];
        own.fields[place * nodes + node] = sum;
      }
    });
    own.series = data.regions.map((_, region) => Float32Array.from(regional(0, 0, region), (value, place) => apart[place].reduce((sum, size, k) => sum + size * own.regions[k][region], value)));
    const globe = data.regions.findIndex(({ key }) => key === "global");
    const mean = own.series[globe];
    data.pathways[own.place].passes = data.thresholds.map((threshold) => {
      for (let k = 0; k + data.span <= mean.length; k += 1) {
        if (mean.subarray(k, k + data.span).reduce((sum, value) => sum + value, 0) / data.span >= threshold) return years[k] + data.span / 2;
      }
      return null;
    });
    // a guess where no year of a pathway of the page that is none had such a forcing, or remembered such a one
    const told = knownOf(own.drawn);
    const outside = years.findIndex((year, place) => year > own.present && told[place].some((value, k) => value < own.least[k] - 0.05 || value > own.most[k] + 0.05));
    // it is the first pathway and a difference from it, so that it knows no more than that one
    const guesses = [outside < 0 ? null : years[outside], data.pathways[0].beyond].filter((year) => year !== null);
    const beyond = guesses.length ? Math.min(...guesses) : null;
    data.pathways[own.place].beyond = beyond;
    const reason = outside >= 0 && years[outside] === beyond ? "your pathway forces the climate as no year did that the emulator learned from: a guess." : `your own is a guess, since ${data.pathways[0].name} is one, from which it is told.`;
    $("own-warning").textContent = beyond === null ? "" : `From ${beyond} on ${reason}`;
    const last = years.length - 1;
    const [mine, first] = [mean, regional(0, 0, globe)].map((one) => signed(one[last]));
    $("own-result").textContent = `Your own: ${mine}${guessed(own.place, years[last]) ? " (a guess)" : ""} for the globe in ${years[last]}; ${data.pathways[0].name}: ${first}${guessed(0, years[last]) ? " (a guess)" : ""}.`;
  };
  const drawOwn = () => {
    const wide = width("own-chart");
    const chart = $("own-chart");
    chart.setAttribute("viewBox", `0 0 ${wide} 200`);
    const most = Math.max(1, own.high, ...own.drawn) * 1.05;
    const least = Math.min(0, ...own.drawn);
    const x = (year) => 44 + ((year - years[0]) / (years[years.length - 1] - years[0])) * (wide - 60);
    const y = (value) => 170 - ((value - least) / (most - least)) * 145;
    chart.replaceChildren(svg("text", { x: 4, y: 15 }, "effective radiative forcing [W m⁻²]"));
    for (let value = Math.ceil(least / 2) * 2; value <= most; value += 2) {
      chart.append(svg("line", { x1: 44, x2: wide - 16, y1: y(value), y2: y(value), stroke: "#ddd" }), svg("text", { x: 38, y: y(value) + 5, "text-anchor": "end" }, value));
    }
    [years[0], own.present, years[years.length - 1]].forEach((year, order) => chart.append(svg("text", { x: x(year), y: 192, "text-anchor": order === 2 ? "end" : "middle" }, year)));
    const line = (series, look) => chart.append(svg("polyline", { points: years.map((year) => `${x(year).toFixed(1)} ${y(series[year - own.begin]).toFixed(1)}`).join(" "), fill: "none", ...look }));
    own.forcing.forEach((series) => line(series, { stroke: "#767676", "stroke-width": 1 }));
    line(own.drawn, { stroke: "#006d4f", "stroke-width": 3 });
    chart.setAttribute("aria-label", `Forcing of your own pathway: ${own.knots.map((year) => `${own.drawn[year - own.begin].toFixed(1)} W m⁻² in ${year}`).join(", ")}; the others as thin grey lines`);
  };
  const draw = () => {
    const start = own.forcing[0][own.present - own.begin];
    const points = [[own.present, start], ...own.knots.map((year) => [year, Number($(`knot-${year}`).value)])];
    own.drawn = own.forcing[0].map((value, place) => {
      const year = own.begin + place;
      if (year <= own.present) return value;
      const next = points.findIndex(([at]) => at >= year);
      const [[from, before], [to, after]] = [points[next - 1], points[next]];
      return before + ((after - before) * (year - from)) / (to - from);
    });
    own.knots.forEach((year) => { $(`value-${year}`).textContent = `${Number($(`knot-${year}`).value).toFixed(1).replace("-", "−")} W m⁻²`; });
    evaluate();
    drawOwn();
  };
  const offerOwn = () => {
    if (!own) return;
    data.pathways.push({ name: OWN, meaning: "", members: 1, beyond: null, passes: data.thresholds.map(() => null) });
    option($("first"), OWN, own.place);
    option($("second"), OWN, own.place);
    $("own").hidden = false;
    $("to-own").hidden = false;
    $("to-own").after(" · ");
    own.anchor = featuresOf(own.forcing[0]);
    const learned = own.forcing.flatMap((forcing, pathway) => knownOf(forcing).filter((_, place) => !guessed(pathway, years[place])));
    [own.least, own.most] = [Math.min, Math.max].map((end) => [0, 1, 2].map((k) => learned.reduce((found, known) => end(found, known[k]), learned[0][k])));
    $("own-note").textContent = `Set the total forcing after ${own.present}; straight lines between. Forcing is what warms the climate: it falls where emissions fall far enough, and the climate follows, in part at once and in part over centuries. The page works it out from the emulator's ${data.pathways[0].name} and a short formula for the difference, fitted to the pathways of this page (five numbers a cell). For one of them that was left out the formula errs by ${own.error.toFixed(2)} ${units} in a cell (root of the mean square over cells and years); the emulator's own errors come on top.`;
    own.knots.forEach((year) => {
      const label = document.createElement("label");
      const slider = document.createElement("input");
      const value = document.createElement("output");
      Object.assign(slider, { type: "range", id: `knot-${year}`, min: -1, max: Math.ceil(own.high + 1), step: 0.1, value: own.forcing[0][year - own.begin] });
      value.id = `value-${year}`;
      label.append(`${year} `, slider, value);
      $("knots").append(label);
      slider.addEventListener("input", () => {
        draw();
        if (state.first !== own.place && state.second !== own.place) {
          $("own-shown").textContent = `Pathway B is now your own, in place of ${data.pathways[state.second].name}.`;
          state.second = own.place;
          $("second").value = own.place;
        }
        passes();
        all();
      });
    });
    draw();
  };

  const save = (name, blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const table = (lines) => new Blob([lines.map((line) => line.join(",")).join("\n"), "\n"], { type: "text/csv" });
  const plain = (text) => text.replace(/[^\w.+=-]+/g, "_");
  const mapTitle = () => `${data.title[0].toUpperCase()}${data.title.slice(1)}, ${what()}, ${shown[state.year]}, ${state.view === "d" ? "difference" : `change over ${data.base}`} [${units}]`;
  $("map-png").onclick = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [960, 600];
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, 960, 600);
    pen.fillStyle = "#1a1a1a";
    pen.font = "600 18px system-ui, sans-serif";
    pen.fillText(mapTitle(), 8, 26, 944);
    pen.drawImage($("map"), 0, 40);
    pen.drawImage($("bar"), (960 - $("bar").width) / 2, 524);
    pen.font = "13px system-ui, sans-serif";
    pen.fillText(`Emulator ${data.emulator}, made with Meshcast`, 8, 592, 944);
    canvas.toBlob((blob) => save(`map_${plain(what())}_${shown[state.year]}.png`, blob));
  };
  $("map-csv").onclick = () => {
    const now = values();
    const kind = state.view === "d" ? "difference" : `change_over_${data.base}`;
    const guess = guessing() ? " a guess" : "";
    const lines = [["latitude", "longitude", plain(`${what()} ${shown[state.year]} ${kind} ${units}${guess}`)]];
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        lines.push([90 - ((row + 0.5) * 180) / rows, -180 + ((column + 0.5) * 360) / columns, raster[row * columns + column] < nodes ? now[raster[row * columns + column]].toFixed(3) : ""]);
      }
    }
    save(`map_${plain(what())}_${shown[state.year]}.csv`, table(lines));
  };
  $("chart-csv").onclick = () => {
    const chosen = [...new Set([state.first, state.second])];
    const about = plain(`${data.regions[state.region].key} change_over_${data.base} ${units}`);
    const head = ["year", ...chosen.flatMap((pathway) => [...["", "_p05", "_p95"].map((end) => `${plain(data.pathways[pathway].name)}_${about}${end}`), `${plain(data.pathways[pathway].name)}_is_a_guess`])];
    const cell = (pathway, statistic, k) => statistic && data.pathways[pathway].members === 1 ? "" : regional(pathway, statistic, state.region)[k].toFixed(3);
    const lines = years.map((year, k) => [year, ...chosen.flatMap((pathway) => [...[0, 1, 2].map((statistic) => cell(pathway, statistic, k)), Number(guessed(pathway, year))])]);
    save(`${chartName()}.csv`, table([head, ...lines]));
  };
  $("ranking-csv").onclick = () => {
    const { a, b } = named();
    const head = ["region", "name", "cells", ...["a", "b"].flatMap((side) => ["", "_p05", "_p95"].map((end) => plain(`${side}_${{ a, b }[side]}_${shown[state.year]}_change_over_${data.base}_${units}${guessed(side === "a" ? state.first : state.second, shown[state.year]) ? "_a_guess" : ""}${end}`)))];
    const quoted = (text) => `"${text.replace(/"/g, '""')}"`;
    const three = (pathway, found) => found.map((value, statistic) => statistic && data.pathways[pathway].members === 1 ? "" : value.toFixed(3));
    save(`regions_${plain(what())}_${shown[state.year]}.csv`, table([head, ...ranked().map((region) => [quoted(region.key), quoted(region.name), region.cells, ...three(state.first, region.a), ...three(state.second, region.b)])]));
  };
  const chartName = () => plain([data.regions[state.region].key, ...new Set([state.first, state.second].map((pathway) => data.pathways[pathway].name))].join("_"));
  $("chart-png").onclick = () => {
    const copy = $("chart").cloneNode(true);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    const wide = width("chart");
    copy.setAttribute("width", 2 * wide);
    copy.setAttribute("height", 744);
    copy.querySelectorAll("text").forEach((text) => text.setAttribute("font-family", "sans-serif"));
    copy.querySelectorAll("text").forEach((text) => text.setAttribute("font-size", "13"));
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [2 * wide, 800];
      const pen = canvas.getContext("2d");
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(image, 0, 0);
      pen.fillStyle = "#1a1a1a";
      pen.font = "22px sans-serif";
      pen.fillText(`${data.bands} Emulator ${data.emulator}.`, 12, 784, canvas.width - 24);
      canvas.toBlob((blob) => save(`${chartName()}.png`, blob));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  };

  const change = (key, id, then) => $(id).addEventListener("input", () => {
    state[key] = key === "view" ? $(id).value : Number($(id).value);
    then();
  });
  const all = () => [explain(), drawMap(), drawChart(), rank(), read()];
  change("first", "first", all);
  change("second", "second", all);
  change("view", "view", () => [drawMap(), rank(), read()]);
  change("region", "region", all);
  change("year", "year", () => [drawMap(), markYear(), rank(), read()]);
  const point = (event) => {
    state.pointed = true;
    const box = $("map").getBoundingClientRect();
    state.row = Math.max(0, Math.min(rows - 1, Math.floor(((event.clientY - box.top) / box.height) * rows)));
    state.column = Math.max(0, Math.min(columns - 1, Math.floor(((event.clientX - box.left) / box.width) * columns)));
    drawMap();
    read();
  };
  $("map").addEventListener("focus", () => {
    state.pointed = true;
    drawMap();
    read();
  });
  $("map").addEventListener("pointermove", point);
  $("map").addEventListener("pointerdown", point);
  $("map").addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-2, 0], ArrowDown: [2, 0], ArrowLeft: [0, -2], ArrowRight: [0, 2] }[event.key] || [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    state.row = Math.max(0, Math.min(rows - 1, state.row + down));
    state.column = (state.column + right + columns) % columns;
    state.pointed = true;
    drawMap();
    read();
  });
  const yearAt = (event) => {
    const box = $("chart").getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * width("chart") - frame.left) / (frame.right - frame.left);
    return years[Math.max(0, Math.min(years.length - 1, Math.round(share * (years.length - 1))))];
  };
  $("chart").addEventListener("pointermove", (event) => markYear(yearAt(event)));
  $("chart").addEventListener("click", (event) => {
    const year = yearAt(event);
    state.year = shown.reduce((best, one, place) => Math.abs(one - year) < Math.abs(shown[best] - year) ? place : best, 0);
    $("year").value = state.year;
    all();
  });
  $("chart").addEventListener("pointerleave", () => markYear());
  let timer = null;
  const pause = () => {
    clearInterval(timer);
    timer = null;
    $("play").textContent = "Play";
    $("play").setAttribute("aria-pressed", "false");
  };
  $("play").onclick = () => {
    if (timer) return pause();
    if (state.year === shown.length - 1) state.year = Math.max(0, shown.findIndex((year) => year >= 2000));
    $("play").textContent = "Pause";
    $("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      if (state.year >= shown.length - 1) return pause();
      state.year += 1;
      $("year").value = state.year;
      drawMap();
      markYear();
      rank();
      read();
    }, 120);
  };
  window.addEventListener("resize", () => [drawMap(), drawChart(), own && drawOwn()]);
  offerOwn();
  passes();
  all();
  document.documentElement.dataset.ready = "yes";
})();
