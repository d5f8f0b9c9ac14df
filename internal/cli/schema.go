package cli

import "github.com/jotgate/jotgate/config"

func schemaCommand() command {
	return command{
		name: "schema", brief: "print the config's JSON Schema, for editors", run: printSchema,
		help: `Prints the JSON Schema (draft 2020-12) of version 1 of the config. An editor that speaks the YAML language server's
language completes and checks a config by it, if the config begins with the line

  # yaml-language-server: $schema=./config.schema.json

A schema sees one value at a time; jotgate check sees what they mean together.

  jotgate schema > config.schema.json
`,
	}
}

func printSchema(p *Process, c *call) error {
	if err := c.parse(0); err != nil {
		return err
	}
	schema, err := config.Schema()
	if err != nil {
		return err
	}
	_, err = p.Stdout.Write(schema)
	return err
}
