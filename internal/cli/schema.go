package cli

import "github.com/jotgate/jotgate/config"

func schemaCommand() command {
	return command{
		name: "schema", brief: "print the config's JSON Schema, for editors", run: printSchema,
		help: `Prints the JSON Schema (draft 2020-12) of config version 1. Editors with a YAML language server complete and validate a
config that begins with this line:

  # yaml-language-server: $schema=./config.schema.json

A schema checks one value at a time; jotgate check also checks how values fit together.

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
