// Holds objects of custom types against the types that their projects generate, where a package has them: names of fields that
// must be there, types and enumerations. Unknown fields are not noticed.
//
// Usage: custom-types.mjs < OBJECTS, a JSON list; writes the types that no package has.

const PACKAGES = {
  "cert-manager.io": "cert-manager",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
  "networking.istio.io": "istio",
  "security.istio.io": "istio",
};

let input = "";
for await (const chunk of process.stdin) input += chunk;
const unknown = new Set();
for (const object of JSON.parse(input)) {
  const [group, version] = object.apiVersion.split("/");
  const name = PACKAGES[group];
  // Packages have the standard channel of the Gateway API only.
  const experimental = JSON.stringify(object).includes('"ExternalAuth"');
  if (!name || experimental) {
    unknown.add(`${object.apiVersion}/${object.kind}`);
    continue;
  }
  const models = await import(`@kubernetes-models/${name}/${group}/${version}`);
  const Model = models[object.kind];
  if (!Model) throw new Error(`${name} has no ${object.apiVersion} ${object.kind}`);
  new Model(object).validate();
}
console.log(JSON.stringify([...unknown].sort()));
