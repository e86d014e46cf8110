addEventListener("DOMContentLoaded", () => document.getElementById("response").submit());
