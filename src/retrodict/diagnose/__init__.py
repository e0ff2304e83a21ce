"""What made an answer: which inputs carried it, what sets two answers apart, what other models would say.

Pure functions over callables and tables: nothing here knows a store or a log. NumPy, pandas and shap are imported
where they are used (shap alone takes seconds).
"""
