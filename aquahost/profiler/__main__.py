from aquahost.profiler.measuring import main

main()
