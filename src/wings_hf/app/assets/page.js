// Names what Gradio leaves without one, for those who cannot see the page.
() => {
  const name = () => {
    const box = document.querySelector("#wf-box textarea");
    if (box && !box.hasAttribute("aria-label")) box.setAttribute("aria-label", "Your message");
    document.querySelectorAll("#wf-chat .examples[role=list]").forEach((list) => list.setAttribute("role", "group"));
    document.querySelectorAll("#wf-box .thumbnail-wrapper[role=listitem]").forEach((item) => item.setAttribute("role", "group"));
    document.querySelectorAll("#wf-chat .message button:has(img)").forEach((button, number) =>
      button.setAttribute("aria-label", `Picture ${number + 1} of the conversation: show it larger`));
    document.querySelectorAll("#wf-chat [role=log]:not([tabindex])").forEach((log) => log.setAttribute("tabindex", "0"));
  };
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
}
