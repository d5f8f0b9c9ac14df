//go:build linux

package main

import "slices"

// A Spread is a median between its quartiles.
type Spread struct {
	Low    float64 `json:"q1"`
	Median float64 `json:"median"`
	High   float64 `json:"q3"`
}

// spreadOf interpolates between neighbours, as most statistics programs do (Hyndman and Fan's type 7).
func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(share float64) float64 {
		place := share * float64(len(sorted)-1)
		i := int(place)
		if i+1 == len(sorted) {
			return sorted[i]
		}
		return sorted[i] + (place-float64(i))*(sorted[i+1]-sorted[i])
	}
	return Spread{at(0.25), at(0.5), at(0.75)}
}

// paired divides in each round, so that what slows a round down slows both.
func paired(of, by []float64) Spread {
	ratios := make([]float64, 0, len(of))
	for i := range of {
		if by[i] > 0 {
			ratios = append(ratios, of[i]/by[i])
		}
	}
	return spreadOf(ratios)
}
