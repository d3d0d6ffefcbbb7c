// Search runs in a worker, and browsers refuse workers to pages that are opened from disk. There a
// hidden frame of the page's own takes the worker's place: it has what the search needs of one.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><title>Search</title>";
      this.begun = new Promise((begun) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow;
          const load = (source) =>
            new Promise((done) => {
              const script = inside.document.createElement("script");
              script.src = source;
              script.onload = script.onerror = done;
              inside.document.head.append(script);
            });
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          inside.importScripts = async (...sources) => {
            for (const source of sources) await load(new URL(source, url));
          };
          load(url).then(() => begun(inside));
        };
      });
      document.documentElement.append(this.frame);
    }

    postMessage(data) {
      this.begun.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
