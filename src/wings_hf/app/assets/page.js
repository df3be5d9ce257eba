// Names what Gradio leaves without one, for those who cannot see the page.
() => {
  const name = () => {
    const box = document.querySelector("#wf-box textarea");
    if (box && !box.hasAttribute("aria-label")) box.setAttribute("aria-label", "Your message");
    document.querySelectorAll("#wf-chat [role=log]:not([tabindex])").forEach((log) => log.setAttribute("tabindex", "0"));
  };
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
}
