// What html-validate asks of the page: all that it recommends, but for
export default {
  root: true,
  extends: ["html-validate:recommended"],
  rules: {
    // an id names its metric, which has a dot: HTML allows that, and links to it are kept
    "valid-id": ["error", { relaxed: true }],
    // matplotlib's drawings have their colours, which are the page's variables, in style attributes
    "no-inline-style": "off",
    // what a tool printed may end its lines in spaces
    "no-trailing-whitespace": "off",
    // a rule for search engines; here the tab's title tells the verdicts
    "long-title": "off",
  },
};
